"""The products of a gated block as compiled operators for CPUs: without copies, and gelu(u) z is never in memory."""

import mindspore as ms
from mindspore import nn, ops

from neonext_ms.ops.cpu.batch_norm import KeepsTypes
from neonext_ms.ops.cpu.library import cpu_function


class FusedHalves(nn.Cell):
    """The two halves of y = W x + b at every pixel, each a tensor of its own; arithmetic as in `FusedPointwise`.

    Inputs:
        x: (N, C, H, W), float32 or float16.
        weight: (2 C', C), bias: (2 C',): any float type, rounded to that of x.

    Outputs:
        both (N, C', H, W), type of x. The gradients have the types of the inputs.
    """

    def __init__(self):
        super().__init__()
        halves, gradients = cpu_function("halves_forward"), cpu_function("halves_backward")
        self.forward = ops.Custom(
            halves, lambda x, w, b: ([x[0], b[0] // 2, *x[2:]],) * 2, lambda x, *_: (x,) * 2, "aot"
        )
        self.backward = ops.Custom(gradients, lambda x, first, last, w: (x, w, [w[0]]), lambda x, *_: (x,) * 3, "aot")

    def serves(self, x) -> bool:
        """Whether the kernel takes x."""
        return x.dtype == ms.float32 or x.dtype == ms.float16

    def construct(self, x, weight, bias):
        return self.forward(x, weight.astype(x.dtype), bias.astype(x.dtype))

    def bprop(self, x, weight, bias, out, dout):
        dx, dw, db = self.backward(x, dout[0], dout[1], weight.astype(x.dtype))
        return dx, dw.astype(weight.dtype), db.astype(bias.dtype)


class FusedGatedBranch(KeepsTypes):
    """trunk + keep (W (gelu(u) z) + b) at every pixel; GELU has the exact error function.

    gelu(u) z and its gradient are computed where a product takes them. Arithmetic as in `FusedPointwise`.

    Inputs:
        trunk: (N, C', H, W), float32 or float16.
        u, z: (N, C, H, W), type of trunk.
        weight: (C', C), bias: (C',): any float type, rounded to that of trunk.
        keep: (N,), a factor for each image, or None for 1; it has no gradient.

    Outputs:
        like trunk. The gradients have the types of the inputs.
    """

    def __init__(self):
        super().__init__()
        self.branch = _GatedBranch()

    def construct(self, trunk, u, z, weight, bias, keep=None):
        factors = ops.ones(u.shape[:1], ms.float32) if keep is None else keep.astype(ms.float32)
        return self.branch(trunk, u, z, weight, bias, factors)


class _GatedBranch(nn.Cell):
    def __init__(self):
        super().__init__()
        self.forward = ops.Custom(
            cpu_function("gated_forward"), lambda *shapes: shapes[4], lambda *types: types[4], "aot"
        )
        self.backward = ops.Custom(
            cpu_function("gated_backward"), lambda u, z, dy, w, keep: (u, u, w, [w[0]]), lambda u, *_: (u,) * 4, "aot"
        )

    def construct(self, trunk, u, z, weight, bias, keep):
        return self.forward(u, z, weight.astype(u.dtype), bias.astype(u.dtype), trunk, keep)

    def bprop(self, trunk, u, z, weight, bias, keep, out, dout):
        du, dz, dw, db = self.backward(u, z, dout, weight.astype(u.dtype), keep)
        return dout, du, dz, dw.astype(weight.dtype), db.astype(bias.dtype), ops.zeros_like(keep)
