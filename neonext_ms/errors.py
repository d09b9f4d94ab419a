"""The exceptions that users see: one line, without a traceback."""

import shlex
import sys


class UserError(ValueError):
    """What was asked for cannot be done as asked.

    The message is one line that names the value given, what is expected, and how to fix it. The command line prints
    it without a traceback; library callers can catch it as a ValueError.
    """


class NotInstalled(UserError):
    """A package that not everybody needs is missing. what: needs it; packages: to install, all of them."""

    def __init__(self, what: str, *packages: str):
        # This interpreter's own pip: another would install where this one does not look.
        command = f"{shlex.quote(sys.executable)} -m pip install {' '.join(packages)}"
        are = "are" if len(packages) > 1 else "is"
        super().__init__(f"{what} needs {' and '.join(packages)}, which {are} not installed: {command}")


class DivergedError(UserError):
    """A training run whose loss, or validation loss, is no longer a number."""


class Stopped(Exception):
    """A signal has ended a training run, which has saved a checkpoint to go on from."""


class UnsavedError(Exception):
    """A training run whose last checkpoint could not be written, while all else is there; the exit code is 1."""


class WorkerDied(Exception):
    """A process that this one has started was ended before its work was done; another start may succeed."""


class Incomplete(Exception):
    """A command did what it could, but not for all that it was given. result: what it returns nevertheless."""

    def __init__(self, message: str, result):
        super().__init__(message)
        self.result = result
