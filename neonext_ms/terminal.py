"""Lines on a terminal: those of the moment redraw one, the others stay and fit. Text of others that forges nothing."""

import contextlib
import logging
import shutil
import sys
import textwrap

LIVE = {"live": True}  # extra= of a log call whose line the next one replaces
PASSING = LIVE | {"passing": True}  # likewise, and worth nothing later: left out elsewhere than on a terminal
LIVE_MARK = "\r"  # at the end of a live line in a log that a launcher shows on its terminal

_TO_START_AND_CLEAR = "\r\x1b[K"


_SHORT = (
    ("  ", " "),
    ("epoch ", ""),
    ("step ", ""),
    ("accuracy", "acc"),
    ("data wait", "wait"),
    (" images/s", "/s"),
    (" %", "%"),
)


def _shorten(text: str) -> str:
    for word, short in _SHORT:
        text = text.replace(word, short)
    return text


def printable(text: str, keep_bytes: bool = True) -> str:
    """Text of others, such as a file's name, in one line: what moves the cursor or ends a line is written as an escape.

    keep_bytes: bytes that are no UTF-8 stay what they are; else they are escapes too, as pictures and HTML need them.
    """
    return "".join(c if c.isprintable() or keep_bytes and "\udc80" <= c <= "\udcff" else ascii(c)[1:-1] for c in text)


def say(text: str):
    """Print a sentence; on a terminal in lines that fit."""
    print(_wrapped(text) if sys.stdout.isatty() else text)


def _wrapped(text: str) -> str:
    """Broken between words where it is longer than the terminal is wide, so that no word is cut in two."""
    columns = shutil.get_terminal_size().columns
    if len(text) <= columns:
        return text
    return textwrap.fill(text, columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


class TerminalHandler(logging.StreamHandler):
    """A StreamHandler that draws live lines over each other where the stream is a terminal; elsewhere all stay.

    Args:
        stream: to write to.
        followed: it is a log that a launcher shows on its terminal, by `show`: live lines are marked for it.
    """

    def __init__(self, stream, followed: bool = False):
        super().__init__(stream)
        self.followed = followed
        self._drawn = False

    def emit(self, record):
        try:
            if self.stream.isatty() or not getattr(record, "passing", False):
                self.show(printable(self.format(record)), getattr(record, "live", False))
        except BrokenPipeError:  # the reader has gone, and with it whoever the work is for
            raise
        except Exception:
            self.handleError(record)

    def show(self, text: str, live: bool = False):
        """Write a line; a live one is drawn over by the next."""
        terminal = self.stream.isatty()
        drawn = live and terminal
        if drawn:  # a line that wraps could not be drawn over, and 80 columns are usual
            text = _shorten(text)[: shutil.get_terminal_size().columns - 1]
        elif terminal:
            text = _wrapped(text)
        end = "" if drawn else f"{LIVE_MARK}\n" if live and self.followed else "\n"
        self.stream.write(_TO_START_AND_CLEAR * self._drawn + text + end)
        self._drawn = drawn
        self.flush()

    def finish(self):
        """Leave the line that was drawn last, so that other output begins below it."""
        if self._drawn:
            self.stream.write("\n")
            self._drawn = False
            self.flush()


@contextlib.contextmanager
def messages_shown():
    """This package's messages go to stdout meanwhile, if the program has not said what becomes of them."""
    logger = logging.getLogger("neonext_ms")
    if logger.hasHandlers():
        yield
        return
    handler, level = TerminalHandler(sys.stdout), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        handler.finish()
        logger.removeHandler(handler)
        logger.setLevel(level)
