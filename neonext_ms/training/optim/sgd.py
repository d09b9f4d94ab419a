"""Stochastic gradient descent with momentum."""

from mindspore import ops

from neonext_ms.training.optim.optimizer import Optimizer, value_or


class SGD(Optimizer):
    """Stochastic gradient descent with momentum and L2 weight decay: v = m v + g + wd w; w = w - lr v.

    Args, inputs and outputs as for `AdamW`.
    """

    def __init__(self, parameters, weight_decay: float, momentum: float = 0.9, **grouping):
        super().__init__(parameters, weight_decay, **grouping)
        self.momentum = momentum
        self.velocity = self.keep("velocity")
        self.apply = ops.ApplyMomentum()

    def construct(self, gradients, lr, finite):
        lr, momentum = value_or(finite, lr, 0.0), value_or(finite, self.momentum, 1.0)
        weight_decay = value_or(finite, self.weight_decay, 0.0)
        weights = ()
        for i in range(len(self.groups)):
            gradient = gradients[i]
            if self.decays[i]:
                gradient = gradient + weight_decay * self.weights[i]
            done = self.apply(self.weights[i], self.velocity[i], lr * self.lr_scales[i], gradient, momentum)
            weights = (*weights, self.put(i, done))
        return weights
