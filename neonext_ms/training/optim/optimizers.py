"""AdamW and SGD whose learning rate is an input, so that the schedule lives on the host and a run can be resumed."""

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

DECAYED = ("weight", "left", "right")


def weight_decay_mask(parameters) -> tuple[bool, ...]:
    """Whether weight decay applies to each parameter (paper, Table 2).

    It does to the matrices: pointwise and linear weights and NeoCell blocks. It does not to norms, biases and layer
    scale, which are all vectors.
    """
    mask = []
    for parameter in parameters:
        kind = next(part for part in reversed(parameter.name.split(".")) if not part.isdigit())
        decayed = kind in DECAYED
        if decayed != (parameter.ndim > 1):
            raise RuntimeError(f"parameter {parameter.name} {parameter.shape} belongs to no weight-decay group")
        mask.append(decayed)
    return tuple(mask)


def _or(finite, value, otherwise: float):
    """The value where finite, a float32 scalar."""
    return ops.select(finite, ops.ones((), ms.float32) * value, ops.ones((), ms.float32) * otherwise)


class _Optimizer(nn.Cell):
    """State shared by the optimisers: the parameters, which of them decay, and zeros like them.

    Whoever calls with finite = False gives gradients of zero, and gets everything back as it was: with a learning rate
    of 0 and moments that forget nothing, the arithmetic of a step changes no bit.
    """

    def __init__(self, parameters, weight_decay: float, lr_scales=None):
        super().__init__()
        self.parameters = ParameterTuple(parameters)
        self.decays = weight_decay_mask(self.parameters)
        self.weight_decay = weight_decay
        self.lr_scales = (1.0,) * len(self.parameters) if lr_scales is None else tuple(lr_scales)
        # Not a loop: a graph nests a loop's turns, and a large network has more parameters than it nests.
        self.map = ops.HyperMap()

    def state(self) -> list[Parameter]:
        """What a resumed run needs besides the parameters."""
        own = {p.name for p in self.parameters}
        return [p for p in self.get_parameters() if p.name not in own]

    def zeros(self, prefix: str) -> ParameterTuple:
        """A state tensor for each parameter, named after it."""
        return ParameterTuple(
            [
                Parameter(Tensor(np.zeros(p.shape, np.float32)), name=f"{prefix}.{p.name}", requires_grad=False)
                for p in self.parameters
            ]
        )


def _adamw(adam, beta1_power, beta2_power, beta1, beta2, eps, lr, weight_decay, p, m, v, gradient, lr_scale, decays):
    """Update one parameter; lr_scale and decays are constants of the graph."""
    rate = lr * lr_scale
    if decays:
        ops.assign(p, p * (1 - rate * weight_decay))
    return adam(p, m, v, beta1_power, beta2_power, rate, beta1, beta2, eps, gradient)


def _sgd(apply, momentum, lr, weight_decay, p, velocity, gradient, lr_scale, decays):
    """Likewise."""
    if decays:
        gradient = gradient + weight_decay * p
    return apply(p, velocity, lr * lr_scale, gradient, momentum)


class AdamW(_Optimizer):
    """Adam with bias correction and decoupled weight decay (https://arxiv.org/abs/1711.05101).

    Args:
        parameters: to update; their names decide which of them decay, see `weight_decay_mask`.
        weight_decay: each step multiplies decayed parameters by 1 - lr * weight_decay.
        lr_scales: what the learning rate of each parameter is multiplied with; None is 1 for all.
        beta1, beta2: of the moments.
        eps: added to the root of the corrected second moment.

    Inputs:
        gradients: tuple, one a parameter.
        lr: float32 scalar tensor.
        finite: bool scalar tensor; False changes nothing, and takes gradients of zero.
    """

    def __init__(
        self,
        parameters,
        weight_decay: float,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        lr_scales=None,
    ):
        super().__init__(parameters, weight_decay, lr_scales)
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.moment1 = self.zeros("moment1")
        self.moment2 = self.zeros("moment2")
        self.beta1_power = Parameter(Tensor(np.float32(1.0)), name="beta1_power", requires_grad=False)
        self.beta2_power = Parameter(Tensor(np.float32(1.0)), name="beta2_power", requires_grad=False)
        self.adam = ops.Adam()

    def construct(self, gradients, lr, finite):
        lr = _or(finite, lr, 0.0)
        beta1, beta2 = _or(finite, self.beta1, 1.0), _or(finite, self.beta2, 1.0)
        beta1_power = self.beta1_power * self.beta1
        beta2_power = self.beta2_power * self.beta2
        # The fused operator adds eps to the uncorrected root: scaled like this it is the textbook's.
        eps = self.eps * ops.sqrt(1 - beta2_power)
        update = ops.partial(_adamw, self.adam, beta1_power, beta2_power, beta1, beta2, eps, lr, self.weight_decay)
        state = (self.parameters, self.moment1, self.moment2)
        lr = ops.depend(lr, self.map(update, *state, gradients, self.lr_scales, self.decays))
        ops.assign(self.beta1_power, self.beta1_power * beta1)
        ops.assign(self.beta2_power, self.beta2_power * beta2)
        return lr


class SGD(_Optimizer):
    """Stochastic gradient descent with momentum and L2 weight decay: v = m v + g + wd w; w = w - lr v.

    Args and inputs as for `AdamW`.
    """

    def __init__(self, parameters, weight_decay: float, momentum: float = 0.9, lr_scales=None):
        super().__init__(parameters, weight_decay, lr_scales)
        self.momentum = momentum
        self.velocity = self.zeros("velocity")
        self.update = ops.ApplyMomentum()

    def construct(self, gradients, lr, finite):
        lr, momentum = _or(finite, lr, 0.0), _or(finite, self.momentum, 1.0)
        weight_decay = _or(finite, self.weight_decay, 0.0)
        update = ops.partial(_sgd, self.update, momentum, lr, weight_decay)
        return ops.depend(lr, self.map(update, self.parameters, self.velocity, gradients, self.lr_scales, self.decays))
