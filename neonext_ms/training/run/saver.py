"""From the parameters of a running training to a checkpoint and back."""

import time

import numpy as np

from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.run.folder import RunFolder
from neonext_ms.training.run.reporter import Reporter
from neonext_ms.training.run.writer import Writer

# Seconds before each further try to write the last checkpoint; in all less than the 30 s that the launcher waits.
RETRIES = (2.0, 6.0, 12.0)


class Saver:
    """Copies the state of a run and writes it beside the training.

    Args:
        network: of the run.
        train_step: whose `state` is saved with it.
        folder: of the run; None on all ranks but the first, which then take part only where all ranks have to.
        ranks: of the job.
        reporter: told what could not be written.
    """

    def __init__(self, network, train_step, folder: RunFolder | None, ranks: Ranks, reporter: Reporter):
        self.network = network
        self.train_step = train_step
        self.folder = folder
        self.ranks = ranks
        self.reporter = reporter
        self._writer = Writer()
        self._work = None  # that the writer was last given
        self._weights, self._state = {}, {}  # copies for it
        self._last = time.monotonic()

    @property
    def seconds_since(self) -> float:
        """Since the last checkpoint, or the beginning."""
        return time.monotonic() - self._last

    @property
    def writing(self) -> bool:
        """Whether a checkpoint is being written now."""
        return self._writer.busy

    def save(self, card: dict, best: tuple[dict[str, np.ndarray], dict] | None = None, more: dict | None = None):
        """Save a checkpoint; `card` and `best` as for `RunFolder.save`, `more` arrays by name are added to the state.

        The parameters are copied before this returns, so the next update may change them; a thread does the rest. One
        that could not be written is reported when the next is begun.
        """
        self._last = time.monotonic()
        if self.folder is None:
            if self.train_step.shared:
                self.train_step.state()  # of which rank 0 needs this rank's part
            return
        self._writer.wait()  # it reads the copies
        if failure := self._writer.failure():
            self.reporter.save_failed(failure, "the next one may succeed")
        copy_into(self._weights, {p.name: p.asnumpy() for p in self.network.get_parameters()})
        copy_into(self._state, self.train_step.state())
        state = {**self._state, **(more or {})}
        self._work = lambda pause: self.folder.save(self._weights, state, card, best, pause)
        self._writer.start(self._work)

    def finish(self) -> str | None:
        """Wait, on all ranks, for the last checkpoint, and try again a few times to write it if that fails.

        Returns:
            why it is not on the disk, or None if it is; on all ranks alike.
        """
        self._writer.wait()
        failure = self._writer.failure()
        for seconds in RETRIES if failure else ():
            self.reporter.save_failed(failure, f"it is tried again in {seconds:g} s")
            time.sleep(seconds)
            self._writer.start(self._work)
            self._writer.wait()
            failure = self._writer.failure()
            if not failure:
                break
        failed = self.ranks.total([failure is not None])[0]
        return str(failure or "rank 0 could not write it") if failed else None

    def wait(self):
        """Return when nothing is being written."""
        self._writer.wait()


def copy_of(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays in memory of their own: on a CPU, `asnumpy` shows that of the parameter."""
    return {name: np.array(array) for name, array in arrays.items()}


def copy_into(copies: dict[str, np.ndarray], arrays: dict[str, np.ndarray]):
    """The same into the copies of an earlier time, if there are any: fresh memory takes several times as long."""
    if not copies:
        copies.update(copy_of(arrays))
        return
    for name, array in arrays.items():
        np.copyto(copies[name], array, casting="no")
