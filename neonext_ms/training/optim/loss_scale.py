"""Loss scaling for float16 (https://arxiv.org/abs/1710.03740, section 3.2)."""

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

LEAST, MOST = 1.0, 2.0**24


class LossScale(nn.Cell):
    """What the loss is multiplied with before, and the gradients are divided by after, the backward pass.

    Args:
        initial: a power of two, which changes no digit.
        window: updates without an overflow after which the scale is doubled; an overflow halves it, down to 1. 0 keeps
            the scale as it is.

    Inputs:
        finite: bool scalar, whether the gradients were.
    """

    def __init__(self, initial: float, window: int):
        super().__init__(auto_prefix=False)
        self.window = window
        self.scale = Parameter(Tensor(np.float32(initial)), name="loss_scale", requires_grad=False)
        self.good_updates = Parameter(Tensor(np.float32(0)), name="good_updates", requires_grad=False)

    def construct(self, finite):
        if self.window > 0:
            good = (self.good_updates + 1) * finite.astype(self.scale.dtype)
            grows = good >= self.window
            grown = ops.select(grows, ops.minimum(self.scale * 2, MOST), self.scale * 1)
            ops.assign(self.scale, ops.select(finite, grown, ops.maximum(self.scale / 2, LEAST)))
            ops.assign(self.good_updates, good * (1 - grows.astype(good.dtype)))
        return finite

    def state(self) -> dict[str, np.ndarray]:
        """What a resumed run needs; nothing of one that does not change."""
        return {p.name: p.asnumpy() for p in (self.scale, self.good_updates)} if self.window else {}

    def load_state(self, state: dict[str, np.ndarray]):
        """Take what `state` has given, maybe among others'."""
        for parameter in (self.scale, self.good_updates) if self.window else ():
            parameter.set_data(Tensor(state[parameter.name]))
