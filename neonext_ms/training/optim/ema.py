"""Exponential moving average of the weights."""

from contextlib import contextmanager

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

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
        decay: below 1.

    Inputs:
        finite: bool scalar; False changes nothing.
    """

    def __init__(self, network, decay: float):
        super().__init__(auto_prefix=False)
        self.decay = decay
        parameters = list(network.get_parameters())
        statistics = [p for p in parameters if is_statistic(p)]
        weights = [p for p in parameters if p.requires_grad]
        self.flat = Flat(weights + statistics)
        self._first_statistic = sum(p.size for p in weights)
        self.averages = self.flat.vector("ema", np.concatenate([p.asnumpy().ravel() for p in self.flat.parameters]))
        self.updates = Parameter(Tensor(np.float32(0)), name="ema_updates", requires_grad=False)
        average = compiled("average", "auto")
        self.average = average() if average else None

    def construct(self, finite):
        count = finite.astype(self.updates.dtype)
        decay = ops.minimum((1 + self.updates) / (10 + self.updates), self.decay)
        rate = (1 - decay) * count
        if self.average is not None:
            ops.assign(self.averages, self.average(rate, self.averages, self.flat.parameters))
        else:
            ops.assign(self.averages, self.averages + rate * (self.flat.values() - self.averages))
        ops.assign(self.updates, self.updates + count)
        return count

    def state(self) -> dict[str, np.ndarray]:
        """What a resumed run needs."""
        return self.flat.named("ema", self.averages) | {self.updates.name: self.updates.asnumpy()}

    def load_state(self, state: dict[str, np.ndarray]):
        """Take what `state` has given, maybe among others'."""
        self.flat.load("ema", self.averages, state)
        self.updates.set_data(Tensor(state[self.updates.name]))

    def statistics(self) -> np.ndarray:
        """Averages of BatchNorm's running statistics, a vector."""
        return self.averages.asnumpy()[self._first_statistic :].copy()

    def set_statistics(self, values: np.ndarray):
        """Replace them."""
        weights = self.averages.asnumpy()[: self._first_statistic]
        self.averages.set_data(Tensor(np.concatenate([weights, values])))

    @contextmanager
    def in_place(self):
        """Within it the network has the averages; after it, what it had before."""
        parameters = self.flat.parameters
        values = [p.asnumpy().copy() for p in parameters]
        try:
            for p, average in zip(parameters, self.flat.named("ema", self.averages).values()):
                p.set_data(Tensor(average))
            yield
        finally:
            for p, value in zip(parameters, values):
                p.set_data(Tensor(value))
