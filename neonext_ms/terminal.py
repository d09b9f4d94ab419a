"""Log lines on a terminal: those of the moment redraw one line, the others stay. Text of others that forges nothing."""

import logging
import shutil

LIVE = {"live": True}  # extra= of a log call whose line the next one replaces
PASSING = {
    "live": True,
    "passing": True,
}  # likewise, and worth nothing later: elsewhere than on a terminal it is left out

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


def printable(text: str) -> str:
    """Text of others, such as a file's name, in one line: what moves the cursor or ends a line is written as an escape.

    Bytes that are no UTF-8 stay what they are.
    """
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else ascii(c)[1:-1] for c in text)


class TerminalHandler(logging.StreamHandler):
    """A StreamHandler that draws live lines over each other where the stream is a terminal; elsewhere all stay."""

    def __init__(self, stream):
        super().__init__(stream)
        self._drawn = False

    def emit(self, record):
        try:
            terminal = self.stream.isatty()
            live = getattr(record, "live", False) and terminal
            if getattr(record, "passing", False) and not terminal:
                return
            text = self.format(record)
            if live:  # a line that wraps could not be drawn over, and 80 columns are usual
                text = _shorten(text)
                text = text[: shutil.get_terminal_size().columns - 1]
            self.stream.write(_TO_START_AND_CLEAR * self._drawn + text + "\n" * (not live))
            self._drawn = live
            self.flush()
        except Exception:
            self.handleError(record)

    def finish(self):
        """Leave the line that was drawn last, so that other output begins below it."""
        if self._drawn:
            self.stream.write("\n")
            self._drawn = False
            self.flush()
