"""What AdamW and SGD share. The learning rate is an input: the schedule lives on the host, and a run can be resumed."""

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


def value_or(finite, value, otherwise: float):
    """The value where finite, a float32 scalar."""
    return ops.select(finite, ops.ones((), ms.float32) * value, ops.ones((), ms.float32) * otherwise)


class Optimizer(nn.Cell):
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
