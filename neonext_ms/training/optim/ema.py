"""Exponential moving average of the weights."""

from contextlib import contextmanager

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from neonext_ms.training.statistics import is_statistic


def _move(rate, average, value):
    return ops.assign(average, average + rate * (value - average))


class EMA(nn.Cell):
    """Averages of the trained parameters and of BatchNorm's running statistics, after every update.

    average = d average + (1 - d) value, with d = min(decay, (1 + t) / (10 + t)) after t updates, so that the first
    ones, which are far from where training ends, are soon forgotten. The statistics are averaged like the weights:
    they belong to weights about as old.

    Args:
        network: whose parameters are averaged, beginning with what they are now.
        decay: below 1.

    Inputs:
        finite: bool scalar; False changes nothing.
    """

    def __init__(self, network, decay: float):
        super().__init__(auto_prefix=False)
        self.decay = decay
        self.map = ops.HyperMap()
        averaged = [p for p in network.get_parameters() if p.requires_grad or is_statistic(p)]
        self.values = ParameterTuple(averaged)
        self.averages = ParameterTuple(
            [Parameter(Tensor(p.asnumpy()), name=f"ema.{p.name}", requires_grad=False) for p in averaged]
        )
        self.updates = Parameter(Tensor(np.float32(0)), name="ema_updates", requires_grad=False)

    def construct(self, finite):
        count = finite.astype(self.updates.dtype)
        decay = ops.minimum((1 + self.updates) / (10 + self.updates), self.decay)
        rate = (1 - decay) * count
        count = ops.depend(count, self.map(ops.partial(_move, rate), self.averages, self.values))
        ops.assign(self.updates, self.updates + count)
        return count

    def state(self) -> list[Parameter]:
        """What a resumed run needs."""
        return [*self.averages, self.updates]

    @contextmanager
    def in_place(self):
        """Within it the network has the averages; after it, what it had before."""
        values = [p.asnumpy().copy() for p in self.values]
        try:
            for p, average in zip(self.values, self.averages):
                p.set_data(Tensor(average.asnumpy()))
            yield
        finally:
            for p, value in zip(self.values, values):
                p.set_data(Tensor(value))
