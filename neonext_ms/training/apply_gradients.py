"""From the gradients of an update to new weights, inside the graph."""

from mindspore import Parameter, ParameterTuple, Tensor, nn, ops


class Update(nn.Cell):
    """Averages gradients over devices, decides whether they are numbers, clips and applies them.

    A gradient or loss that is not finite, on any device, changes nothing: no weight, no state of the optimizer, no
    running statistic of BatchNorm, no average; it halves a dynamic loss scale. The decision is computed from what all
    devices share, so all take the same; it is arithmetic instead of a branch, so that the host need not wait for it.

    Args:
        network: with BatchNorm, whose running statistics the forward passes have changed already.
        optimizer: a Cell of (gradients, lr, finite).
        reducer: averages gradients over devices, or None for one device.
        world: number of devices.
        clip_grad: greatest global norm of the gradients; 0 is no limit.
        loss_scale: a LossScale, by which the gradients are still multiplied, or None.
        ema: an EMA of the network, or None.

    Inputs:
        loss, gradients: means over the images of this device; gradients a tuple, one a parameter.
        correct: number of its right answers.
        lr: float32 scalar.
        limit: float32 scalar; an update with a loss above it changes nothing either.

    Outputs:
        (5,) float32: the fields of `StepMetrics`.
    """

    def __init__(self, network, optimizer, reducer=None, world=1, clip_grad=0.0, loss_scale=None, ema=None):
        super().__init__(auto_prefix=False)
        self.optimizer = optimizer
        self.reducer = reducer
        self.all_reduce = None if reducer is None else ops.AllReduce()
        self.world = world
        self.clip_grad = clip_grad
        self.loss_scale = loss_scale
        self.ema = ema
        self.map = ops.HyperMap()
        self.statistics = ParameterTuple([p for p in network.get_parameters() if is_statistic(p)])
        self.remembered = ParameterTuple([_like(p, "remembered") for p in self.statistics])

    def remember_statistics(self):
        """Part of the graph that runs before the forward passes."""
        self.map(ops.assign, self.remembered, self.statistics)

    def construct(self, loss, correct, gradients, lr, limit):
        if self.reducer is not None:
            gradients = self.reducer(gradients)
            shared = self.all_reduce(ops.stack([loss / self.world, correct]))
            loss, correct = shared[0], shared[1]
        squares = ops.addn(self.map(_squares, gradients))
        scale = ops.ones_like(squares) if self.loss_scale is None else self.loss_scale.scale * 1
        norm = ops.sqrt(squares) / scale
        numbers = ops.logical_and(ops.isfinite(norm), ops.isfinite(loss))
        finite = ops.logical_and(numbers, loss <= limit)
        factor = 1 / scale
        if self.clip_grad > 0:
            factor = factor * self.clip_grad / ops.maximum(norm, self.clip_grad)
        safe = self.map(ops.partial(_scaled_if, finite, factor), gradients)
        loss = ops.depend(loss, self.optimizer(safe, lr, finite))
        loss = ops.depend(loss, self.map(ops.partial(_restore_unless, finite), self.statistics, self.remembered))
        if self.ema is not None:
            loss = ops.depend(loss, self.ema(finite))
        if self.loss_scale is not None:
            loss = ops.depend(loss, self.loss_scale(numbers))
        return ops.stack([loss, correct, norm, finite.astype(loss.dtype), scale])


def _squares(gradient):
    return ops.sum(ops.square(gradient))


def _scaled_if(finite, factor, gradient):
    return ops.select(finite, gradient * factor, ops.zeros_like(gradient))


def _restore_unless(finite, statistic, remembered):
    return ops.assign(statistic, ops.select(finite, statistic, remembered))


def is_statistic(parameter: Parameter) -> bool:
    """Whether this is a running mean or variance of BatchNorm."""
    return parameter.name.endswith(("moving_mean", "moving_variance"))


def _like(parameter: Parameter, prefix: str) -> Parameter:
    """A copy that is not trained, named <prefix>.<name>."""
    return Parameter(Tensor(parameter.asnumpy()), name=f"{prefix}.{parameter.name}", requires_grad=False)
