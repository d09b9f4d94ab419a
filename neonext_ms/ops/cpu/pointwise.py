"""A pointwise layer as one compiled operator for CPUs: a matrix product at every pixel of NCHW planes."""

import mindspore as ms
from mindspore import nn, ops

from neonext_ms.ops.cpu.library import cpu_function


class FusedPointwise(nn.Cell):
    """y = W x + b at every pixel, with both gradients of its product from tiles of x and dy that are read once.

    Inputs, all of one type, float32 or float16; arithmetic is float32, or as `set_matmul_precision` says:
        x: (N, C, H, W).
        weight: (C', C).
        bias: (C',).

    Outputs:
        (N, C', H, W).
    """

    def __init__(self):
        super().__init__()
        self.forward = ops.Custom(
            cpu_function("pointwise_forward"), lambda x, w, b: [x[0], w[0], *x[2:]], lambda x, *_: x, "aot"
        )
        self.backward = ops.Custom(
            cpu_function("pointwise_backward"), lambda x, dy, w: (x, w, [w[0]]), lambda x, *_: (x,) * 3, "aot"
        )

    def serves(self, x) -> bool:
        """Whether the kernel takes x."""
        return x.dtype == ms.float32 or x.dtype == ms.float16

    def construct(self, x, weight, bias):
        return self.forward(x, weight, bias)

    def bprop(self, x, weight, bias, out, dout):
        return self.backward(x, dout, weight)
