"""What the launcher shows: the log of one rank as it grows, and its own lines between."""

import os
import re
import sys
from pathlib import Path

from neonext_ms.terminal import LIVE_MARK, TerminalHandler

# Lines of a normal start and end that say nothing to the user.
NOISE = re.compile(r"^\[(INFO|WARNING)\] |Failed to connect to the meta server")


SCREEN = TerminalHandler(sys.stdout)


def say(text: str, live: bool = False):
    try:
        SCREEN.show(text, live)
    except BrokenPipeError:  # the terminal is gone; the job is not
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def warn(text: str):
    """Write a line to stderr, below what stdout shows of the moment."""
    try:
        SCREEN.finish()
        print(text, file=sys.stderr, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def say_error(text: str):
    warn(f"error: {text}")


class Follower:
    """Shows on the terminal what a log has gained since the last look."""

    def __init__(self):
        self.log: Path | None = None
        self._read = 0
        self._rest = b""

    def show(self):
        if self.log is None or not self.log.exists():
            return
        with open(self.log, "rb") as file:
            file.seek(self._read)
            data = file.read()
        self._read += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if not NOISE.search(text := line.decode(errors="replace")):
                say(text.removesuffix(LIVE_MARK), live=text.endswith(LIVE_MARK))
