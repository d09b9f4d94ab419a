"""BatchNorm's running statistics, which the forward passes of training change as they go."""

from contextlib import contextmanager

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.optim.flat import Flat

OF_RANKS = "statistics_of_ranks"  # in the training state of a checkpoint


def is_statistic(parameter: Parameter) -> bool:
    """Whether this is a running mean or variance of BatchNorm."""
    return parameter.name.endswith(("moving_mean", "moving_variance"))


class Statistics(nn.Cell):
    """Those of a network, as they were after the last update that changed something.

    Args:
        network: with BatchNorm.

    Inputs:
        finite: bool scalar; False puts back what was remembered.

    Outputs:
        (N,) all statistics as they are now, or () without a BatchNorm.
    """

    def __init__(self, network):
        super().__init__(auto_prefix=False)
        statistics = [p for p in network.get_parameters() if is_statistic(p)]
        self.flat = Flat(statistics) if statistics else None
        self.remembered = self.flat.vector("remembered") if statistics else None
        self.remember()

    def remember(self):
        """To be called when somebody else has set the statistics. Not part of the graph, which would copy them all."""
        if self.flat is not None:
            self.remembered.set_data(self.flat.read())

    def construct(self, finite):
        if self.flat is None:
            return ()
        # Given on as a value: a Parameter might be read by a compiled operator before it is assigned (MindSpore 2.10).
        values = ops.select(finite, self.flat.values(), self.remembered)
        return ops.depend(values, (ops.assign(self.remembered, values), self.flat.put(values)))


class OfRanks:
    """Running statistics that each rank gathers from its own images, while all are to evaluate and save the same.

    They never change what a rank has: a run that is stopped and goes on is the run that was not, to the bit.

    Args:
        network: with BatchNorm.
        ema: an EMA of it, which holds averages of its statistics, or None.
        ranks: of the job.
    """

    def __init__(self, network, ema, ranks: Ranks):
        self.statistics = [p for p in network.get_parameters() if is_statistic(p)]
        self.ema = ema
        self.ranks = ranks

    @contextmanager
    def averaged(self):
        """Within it every rank has the mean over the ranks, after it its own again, which is yielded."""
        own = self._values()
        if self.ranks.world == 1:
            yield own
            return
        try:
            self._set(self.ranks.total(own) / np.float32(self.ranks.world))
            yield own
        finally:
            self._set(own)

    def gather(self, own: np.ndarray) -> dict[str, np.ndarray]:
        """What a checkpoint of several ranks keeps besides the means: float32 (ranks, n), each rank's own."""
        world = self.ranks.world
        if world == 1:
            return {}
        nothing = np.zeros_like(own)
        return {OF_RANKS: np.stack([self.ranks.total(own if self.ranks.rank == i else nothing) for i in range(world)])}

    def restore(self, gathered: np.ndarray | None):
        """Take back this rank's own from a checkpoint that as many ranks have made; else it keeps the means."""
        if gathered is not None and gathered.shape == (self.ranks.world, self._values().size):
            self._set(gathered[self.ranks.rank])

    def _values(self) -> np.ndarray:
        averages = [] if self.ema is None else [self.ema.statistics()]
        return np.concatenate([*(p.asnumpy().ravel() for p in self.statistics), *averages])

    def _set(self, values: np.ndarray):
        first = 0
        for p in self.statistics:
            p.set_data(Tensor(values[first : first + p.size].reshape(p.shape)))
            first += p.size
        if self.ema is not None:
            self.ema.set_statistics(values[first:])
