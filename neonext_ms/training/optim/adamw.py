"""Adam with decoupled weight decay."""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, ops

from neonext_ms.training.optim.optimizer import Optimizer, value_or


class AdamW(Optimizer):
    """Adam with bias correction and decoupled weight decay (https://arxiv.org/abs/1711.05101).

    Args:
        parameters: to update; their names decide which of them decay, see `weight_decay_mask`.
        weight_decay: each step multiplies decayed parameters by 1 - lr * weight_decay.
        betas: of the two moments.
        eps: added to the root of the corrected second moment.
        grouping: lr_scales and ranks, as for `Optimizer`.

    Inputs:
        gradients: of `join`: a vector a group, or this rank's parts of them.
        lr: float32 scalar tensor.
        finite: bool scalar tensor; False changes nothing.
        factor: float32 scalar tensor that the gradients are multiplied by.

    Outputs:
        the new weights, for each group tensors that hold them end to end, or this rank's part.
    """

    rule = "adamw"

    def __init__(self, parameters, weight_decay: float, betas=(0.9, 0.999), eps: float = 1e-8, **grouping):
        super().__init__(parameters, weight_decay, **grouping)
        (self.beta1, self.beta2), self.eps = betas, eps
        self.moment1 = self.keep("moment1")
        self.moment2 = self.keep("moment2")
        self.beta1_power = Parameter(Tensor(np.float32(1.0)), name="beta1_power", requires_grad=False)
        self.beta2_power = Parameter(Tensor(np.float32(1.0)), name="beta2_power", requires_grad=False)
        self.adam = ops.Adam()

    def construct(self, gradients, lr, finite, factor):
        lr = value_or(finite, lr, 0.0)
        beta1, beta2 = value_or(finite, self.beta1, 1.0), value_or(finite, self.beta2, 1.0)
        powers = self.beta1_power * self.beta1, self.beta2_power * self.beta2
        # The fused operator adds eps to the uncorrected root: scaled like this it is the textbook's.
        root = ops.sqrt(1 - powers[1])
        eps = self.eps * root
        if self.in_place is None:
            gradients = self.scaled(gradients, finite, factor)
        weights = ()
        for i in range(len(self.groups)):
            rate = lr * self.lr_scales[i]
            state = self.moment1[i], self.moment2[i]
            if self.in_place is not None:
                kept = 1 - rate * (self.weight_decay * self.decays[i])
                step = rate * root / (1 - powers[0])
                numbers = finite.astype(ms.float32), factor, kept, step, beta1, beta2, eps
                weights = (*weights, self.change(i, numbers, (gradients[i], *state)))
                continue
            if self.decays[i]:
                ops.assign(self.weights[i], self.weights[i] * (1 - rate * self.weight_decay))
            done = self.adam(self.weights[i], *state, *powers, rate, beta1, beta2, eps, gradients[i])
            weights = (*weights, (self.put(i, done),))
        ops.assign(self.beta1_power, self.beta1_power * beta1)
        ops.assign(self.beta2_power, self.beta2_power * beta2)
        return weights

    def state(self):
        return super().state() | {p.name: p.asnumpy() for p in (self.beta1_power, self.beta2_power)}

    def load_state(self, state):
        super().load_state(state)
        for power in (self.beta1_power, self.beta2_power):
            power.set_data(Tensor(state[power.name]))
