"""Exponential moving average of the weights."""

from contextlib import contextmanager

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from neonext_ms.ops.backend import compiled
from neonext_ms.training.optim.flat import Flat
from neonext_ms.training.statistics import is_statistic


class EMA(nn.Cell):
    """Averages of the trained parameters and of BatchNorm's running statistics, after every update.

    average = d average + (1 - d) value, with d = min(decay, (1 + t) / (10 + t)) after t updates, so that the first
    ones, which are far from where training ends, are soon forgotten. The statistics are averaged like the weights:
    they belong to weights about as old.

    Args:
        network: whose parameters are averaged, beginning with what they are now.
        optimizer: of its trained parameters, whose averages are shared by ranks as its state is.
        decay: below 1.

    Inputs:
        weights: what the optimizer returns.
        statistics: what `Statistics` returns.
        finite: bool scalar; False changes nothing.

    Outputs:
        the new averages, vectors; or what they are changed with in place.
    """

    def __init__(self, network, optimizer, decay: float):
        super().__init__(auto_prefix=False)
        self.decay = decay
        statistics = [p for p in network.get_parameters() if is_statistic(p)]
        self.of_statistics = Flat(statistics) if statistics else None
        self.flats = [*optimizer.groups, *([self.of_statistics] if statistics else [])]
        self.averages = ParameterTuple([flat.part(f"ema.{i}") for i, flat in enumerate(self.flats)])
        for flat, average in zip(self.flats, self.averages):
            average.set_data(flat.read())
        self.updates = Parameter(Tensor(np.float32(0)), name="ema_updates", requires_grad=False)
        average = compiled("average", "auto")
        self.average = None
        if average:
            self.average = nn.CellList([*map(average, optimizer.held), average(1)])

    def construct(self, weights, statistics, finite):
        count = finite.astype(self.updates.dtype)
        decay = ops.minimum((1 + self.updates) / (10 + self.updates), self.decay)
        rate = (1 - decay) * count
        values = weights if self.of_statistics is None else (*weights, (statistics,))
        averages = ()
        for i in range(len(self.averages)):
            old = self.averages[i]
            if self.average is not None:
                new = self.average[i]((rate,), (old,), values[i])
            else:
                new = ops.assign(old, old + rate * (values[i][0] - old))
            averages = (*averages, new)
        ops.assign(self.updates, self.updates + count)
        return averages

    def state(self) -> dict[str, np.ndarray]:
        """What a resumed run needs. Of ranks that share, all of it: each of them has to ask."""
        named = {self.updates.name: self.updates.asnumpy()}
        for flat, average in zip(self.flats, self.averages):
            named |= flat.named("ema", average)
        return named

    def load_state(self, state: dict[str, np.ndarray]):
        """Take what `state` has given, maybe among others'."""
        self.updates.set_data(Tensor(state[self.updates.name]))
        for flat, average in zip(self.flats, self.averages):
            flat.load("ema", average, state)

    def statistics(self) -> np.ndarray:
        """Averages of BatchNorm's running statistics, a vector."""
        return np.zeros(0, np.float32) if self.of_statistics is None else self.averages[-1].asnumpy().copy()

    def set_statistics(self, values: np.ndarray):
        """Replace them."""
        if self.of_statistics is not None:
            self.averages[-1].set_data(Tensor(values))

    @contextmanager
    def in_place(self):
        """Within it the network has the averages, on all ranks; after it, what it had before."""
        parameters = {f"ema.{p.name}": p for flat in self.flats for p in flat.parameters}
        values = {name: p.asnumpy().copy() for name, p in parameters.items()}
        averages = self.state()
        try:
            for name, p in parameters.items():
                p.set_data(Tensor(averages[name]))
            yield
        finally:
            for name, p in parameters.items():
                p.set_data(Tensor(values[name]))
