"""BatchNorm's running statistics, which the forward passes of training change as they go."""

from mindspore import Parameter, nn, ops

from neonext_ms.training.optim.flat import Flat


def is_statistic(parameter: Parameter) -> bool:
    """Whether this is a running mean or variance of BatchNorm."""
    return parameter.name.endswith(("moving_mean", "moving_variance"))


class Statistics(nn.Cell):
    """Those of a network, as they were before the forward passes of an update.

    Args:
        network: with BatchNorm.

    Inputs:
        finite: bool scalar; False puts back what was remembered.
    """

    def __init__(self, network):
        super().__init__(auto_prefix=False)
        statistics = [p for p in network.get_parameters() if is_statistic(p)]
        self.flat = Flat(statistics) if statistics else None
        self.remembered = self.flat.vector("remembered") if statistics else None

    def remember(self):
        """Part of the graph that runs before the forward passes."""
        if self.flat is not None:
            ops.assign(self.remembered, self.flat.values())

    def construct(self, finite):
        if self.flat is not None:
            finite = ops.depend(finite, self.flat.put(ops.select(finite, self.flat.values(), self.remembered)))
        return finite
