"""The exceptions that users see: one line, without a traceback."""


class UserError(ValueError):
    """What was asked for cannot be done as asked.

    The message is one line that names the value given, what is expected, and how to fix it. The command line prints
    it without a traceback; library callers can catch it as a ValueError.
    """


class DivergedError(UserError):
    """A training run whose loss, or validation loss, is no longer a number."""


class Stopped(Exception):
    """A signal has ended a training run, which has saved a checkpoint to go on from."""


class UnsavedError(Exception):
    """A training run whose last checkpoint could not be written, while all else is there; the exit code is 1."""


class WorkerDied(Exception):
    """A process that prepares data has ended before its work was done; another start may succeed."""


class Incomplete(Exception):
    """A command did what it could, but not for all that it was given. result: what it returns nevertheless."""

    def __init__(self, message: str, result):
        super().__init__(message)
        self.result = result
