"""Writing beside training: one thread, one piece of work at a time."""

import threading
import time
from collections.abc import Callable

# Of a core's time, what the thread takes while nobody waits for it. The lowest priority in its place was not enough: on
# two cores, updates beside a thread of SCHED_IDLE took 1.4 times as long, whatever it did.
SHARE = 0.05
LEAST = 1e-3  # seconds of work that are worth a pause


class Writer:
    """Runs what it is given in a thread, one after the other, and slowly, so that no update takes notice.

    At most one piece of work is under way: whoever brings the next waits for it, so that no more than one copy of the
    weights is held for writing; once somebody waits, it goes on at full speed. An OSError, such as a full disk, is kept
    for whoever asks; any other exception is a mistake of the program and is raised in the next call.
    """

    def __init__(self):
        self._thread = None
        self._error = None
        self._awaited = threading.Event()
        self._paused = 0.0  # the thread's CPU time at its last pause

    @property
    def busy(self) -> bool:
        """Whether something is under way."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, work: Callable[[Callable[[], None]], None]):
        """Run `work` soon; waits for the one before.

        Args:
            work: gets a function that it is to call every few milliseconds, and which pauses when it is time to.
        """
        self.wait()
        self._awaited.clear()
        self._thread = threading.Thread(target=self._run, args=(work,), name="checkpoint writer")
        self._thread.start()

    def wait(self):
        """Return when nothing is under way."""
        self._awaited.set()
        if self._thread:
            self._thread.join()
            self._thread = None
        if self._error and not isinstance(self._error, OSError):
            raise self._error

    def failure(self) -> OSError | None:
        """What kept the last finished piece of work from being done, once."""
        if self.busy:
            return None
        self.wait()
        error, self._error = self._error, None
        return error

    def _run(self, work: Callable[[Callable[[], None]], None]):
        self._paused = time.thread_time()
        try:
            work(self._pause)
        except Exception as error:
            self._error = error

    def _pause(self):
        used = time.thread_time() - self._paused
        if used >= LEAST:
            self._awaited.wait(used * (1 / SHARE - 1))
            self._paused = time.thread_time()
