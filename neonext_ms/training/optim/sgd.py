"""Stochastic gradient descent with momentum."""

from mindspore import ops

from neonext_ms.training.optim.optimizer import Optimizer, value_or


class SGD(Optimizer):
    """Stochastic gradient descent with momentum and L2 weight decay: v = m v + g + wd w; w = w - lr v.

    Args and inputs as for `AdamW`.
    """

    def __init__(self, parameters, weight_decay: float, momentum: float = 0.9, lr_scales=None):
        super().__init__(parameters, weight_decay, lr_scales)
        self.momentum = momentum
        self.velocity = self.zeros("velocity")
        self.update = ops.ApplyMomentum()

    def construct(self, gradients, lr, finite):
        lr, momentum = value_or(finite, lr, 0.0), value_or(finite, self.momentum, 1.0)
        weight_decay = value_or(finite, self.weight_decay, 0.0)
        update = ops.partial(_sgd, self.update, momentum, lr, weight_decay)
        return ops.depend(lr, self.map(update, self.parameters, self.velocity, gradients, self.lr_scales, self.decays))


def _sgd(apply, momentum, lr, weight_decay, p, velocity, gradient, lr_scale, decays):
    """Update one parameter; lr_scale and decays are constants of the graph."""
    if decays:
        gradient = gradient + weight_decay * p
    return apply(p, velocity, lr * lr_scale, gradient, momentum)
