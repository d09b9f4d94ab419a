"""A pointwise layer as one compiled operator for CPUs: a matrix product at every pixel of NCHW planes."""

import mindspore as ms
from mindspore import nn, ops

from neonext_ms.ops.cpu.library import cpu_function


class FusedPointwise(nn.Cell):
    """y = W x + b at every pixel, with both gradients of its product from tiles of x and dy that are read once.

    Arithmetic is float32, or as `set_matmul_precision` says.

    Inputs:
        x: (N, C, H, W), float32 or float16.
        weight: (C', C), bias: (C',): any float type, rounded to that of x.

    Outputs:
        (N, C', H, W), type of x. The gradients have the types of the inputs.
    """

    def __init__(self):
        super().__init__()
        self.forward = ops.Custom(
            cpu_function("pointwise_forward"), lambda x, w, b: [x[0], b[0], *x[2:]], lambda x, *_: x, "aot"
        )
        self.backward = ops.Custom(
            cpu_function("pointwise_backward"), lambda x, dy, w: (x, w, [w[0]]), lambda x, *_: (x,) * 3, "aot"
        )

    def serves(self, x) -> bool:
        """Whether the kernel takes x."""
        return x.dtype == ms.float32 or x.dtype == ms.float16

    def construct(self, x, weight, bias):
        return self.forward(x, weight.astype(x.dtype), bias.astype(x.dtype))

    def bprop(self, x, weight, bias, out, dout):
        dx, dw, db = self.backward(x, dout, weight.astype(x.dtype))
        return dx, dw.astype(weight.dtype), db.astype(bias.dtype)
