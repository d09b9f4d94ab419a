"""A sign of life for the launcher, which ends a job when one of its ranks hangs or leaves before its work is done.

A rank writes it and the launcher reads it: a file with one line, "<number of signs> <updates made>", at last "done".
"""

import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

VARIABLE = "NEONEXT_HEARTBEAT"  # of the environment: the file, if there is a launcher
_DONE = "done"


class Beat(NamedTuple):
    """What a rank has told: how often it has, and how many updates it has made; or that its work is done."""

    number: int = 0
    update: int = 0
    done: bool = False


def beat(step: int | None = None):
    """Tell that this rank lives and has made `step` updates, by default as many as before.

    To be called after every update, every evaluated batch and before anything else that takes minutes. Without a
    launcher it does nothing.
    """
    file = _file()
    if file is not None:
        file.beats += 1
        file.step = file.step if step is None else step
        file.write(f"{file.beats} {file.step}")


def done():
    """Tell that this rank has done all its work: a launcher takes any other end, exit code 0 or not, for a failure."""
    file = _file()
    if file is not None:
        file.write(_DONE)


def read(path: Path) -> Beat | None:
    """The newest sign of life in a file; None before the first."""
    try:
        words = path.read_text().split()
        return Beat(done=True) if words == [_DONE] else Beat(int(words[0]), int(words[1]))
    except (OSError, ValueError, IndexError):
        return None


class _File:
    """A short line that is written in place, whole: a rank beats often, and only the newest line counts."""

    def __init__(self, path: str):
        self.beats = self.step = 0
        self.handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def write(self, text: str):
        os.pwrite(self.handle, f"{text:<40}\n".encode(), 0)


@cache
def _file() -> _File | None:
    path = os.environ.get(VARIABLE)
    return _File(path) if path else None
