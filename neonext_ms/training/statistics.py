"""BatchNorm's running statistics, which the forward passes of training change as they go."""

from mindspore import Parameter, ParameterTuple, Tensor, nn, ops


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
        self.map = ops.HyperMap()
        self.values = ParameterTuple([p for p in network.get_parameters() if is_statistic(p)])
        self.remembered = ParameterTuple(
            [Parameter(Tensor(p.asnumpy()), name=f"remembered.{p.name}", requires_grad=False) for p in self.values]
        )

    def remember(self):
        """Part of the graph that runs before the forward passes."""
        self.map(ops.assign, self.remembered, self.values)

    def construct(self, finite):
        return self.map(ops.partial(_restore_unless, finite), self.values, self.remembered)


def _restore_unless(finite, value, remembered):
    return ops.assign(value, ops.select(finite, value, remembered))
