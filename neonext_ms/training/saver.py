"""From the parameters of a running training to a checkpoint and back."""

import time

import numpy as np

from neonext_ms.training.checkpoint import Checkpoint, assign, assign_weights
from neonext_ms.training.distributed import Ranks
from neonext_ms.training.reporter import Reporter
from neonext_ms.training.run_folder import RunFolder
from neonext_ms.training.writer import Writer


class Saver:
    """Copies the state of a run and writes it beside the training.

    Args:
        network: of the run.
        train_step: whose `state_parameters` are saved with it.
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
        self._last = time.monotonic()

    @property
    def seconds_since(self) -> float:
        """Since the last checkpoint, or the beginning."""
        return time.monotonic() - self._last

    def save(self, meta: dict, best: tuple[dict[str, np.ndarray], dict] | None = None):
        """Save a checkpoint; `meta` and `best` as for `RunFolder.save`.

        The parameters are copied before this returns, so the next update may change them; a thread does the rest. One
        that could not be written is reported when the next is begun.
        """
        self._last = time.monotonic()
        if self.folder is None:
            return
        weights = copy_of({p.name: p for p in self.network.get_parameters()})
        state = copy_of(self.train_step.state_parameters())
        self._writer.wait()
        if failure := self._writer.failure():
            self.reporter.save_failed(failure)
        self._writer.start(lambda: self.folder.save(weights, state, meta, best))

    def finish(self):
        """Return, on all ranks, when the last checkpoint is on the disk.

        Raises:
            OSError: it could not be written.
        """
        self._writer.wait()
        failure = self._writer.failure()
        failed = self.ranks.total([failure is not None])[0]
        if failed:
            raise failure or OSError("rank 0 could not write the last checkpoint")

    def wait(self):
        """Return when nothing is being written."""
        self._writer.wait()


def restore(checkpoint: Checkpoint, network, train_step):
    """Set all parameters to those of a checkpoint.

    Raises:
        UserError: they do not fit; it names the first difference.
    """
    source = str(checkpoint.path)
    assign_weights(network, checkpoint.weights, source)
    assign(train_step.state_parameters(), checkpoint.state, source, "the state of this training")


def copy_of(parameters: dict) -> dict[str, np.ndarray]:
    """The values of MindSpore parameters in memory of their own."""
    return {name: np.array(parameter.asnumpy()) for name, parameter in parameters.items()}
