"""Stochastic gradient descent with momentum."""

import mindspore as ms
from mindspore import ops

from neonext_ms.training.optim.optimizer import Optimizer, value_or


class SGD(Optimizer):
    """Stochastic gradient descent with momentum and L2 weight decay: v = m v + g + wd w; w = w - lr v.

    Args, inputs and outputs as for `AdamW`.
    """

    rule = "sgd"

    def __init__(self, parameters, weight_decay: float, momentum: float = 0.9, **grouping):
        super().__init__(parameters, weight_decay, **grouping)
        self.momentum = momentum
        self.velocity = self.keep("velocity")
        self.apply = ops.ApplyMomentum()

    def construct(self, gradients, lr, finite, factor):
        lr, momentum = value_or(finite, lr, 0.0), value_or(finite, self.momentum, 1.0)
        weight_decay = value_or(finite, self.weight_decay, 0.0)
        if self.in_place is None:
            gradients = self.scaled(gradients, finite, factor)
        weights = ()
        for i in range(len(self.groups)):
            gradient, rate = gradients[i], lr * self.lr_scales[i]
            if self.in_place is not None:
                numbers = finite.astype(ms.float32), factor, weight_decay * self.decays[i], rate, momentum
                weights = (*weights, self.change(i, numbers, (gradient, self.velocity[i])))
                continue
            if self.decays[i]:
                gradient = gradient + weight_decay * self.weights[i]
            done = self.apply(self.weights[i], self.velocity[i], rate, gradient, momentum)
            weights = (*weights, (self.put(i, done),))
        return weights
