"""Writing beside training: one thread, one piece of work at a time."""

import threading
from collections.abc import Callable


class Writer:
    """Runs what it is given in a thread, one after the other.

    At most one piece of work is under way: whoever brings the next waits for it, so that no more than one copy of the
    weights is held for writing. An OSError, such as a full disk, is kept for whoever asks; any other exception is a
    mistake of the program and is raised in the next call.
    """

    def __init__(self):
        self._thread = None
        self._error = None

    def start(self, work: Callable[[], None]):
        """Run `work` soon; waits for the one before."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(work,), name="checkpoint writer")
        self._thread.start()

    def wait(self):
        """Return when nothing is under way."""
        if self._thread:
            self._thread.join()
            self._thread = None
        if self._error and not isinstance(self._error, OSError):
            raise self._error

    def failure(self) -> OSError | None:
        """What kept the last finished piece of work from being done, once."""
        if self._thread and self._thread.is_alive():
            return None
        self.wait()
        error, self._error = self._error, None
        return error

    def _run(self, work: Callable[[], None]):
        try:
            work()
        except Exception as error:
            self._error = error
