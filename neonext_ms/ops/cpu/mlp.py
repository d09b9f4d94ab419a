"""The MLP of a block as one compiled operator for CPUs: two matrix products with GELU between them, at every pixel."""

import math

import mindspore as ms
from mindspore import nn, ops

from neonext_ms.ops.cpu.library import cpu_function
from neonext_ms.ops.precision import matmul_precision

TILE = 16  # pixels that the kernel keeps side by side


class FusedMLP(nn.Cell):
    """y = W2 gelu(W1 x + b1) + b2 at every pixel of NCHW planes, without transposes; GELU has the exact error function.

    In training the hidden values stay in memory for the gradients; in evaluation they never leave the cache, and
    gradients, if any are asked for, compute them again. Arithmetic is float32, or as `set_matmul_precision` says.

    Inputs:
        x: (N, C, H, W), float32 or float16.
        w1: (hidden, C), b1: (hidden,), w2: (C, hidden), b2: (C,): any float type, rounded to that of x.

    Outputs:
        (N, C, H, W), type of x.
    """

    def __init__(self):
        super().__init__()
        self.keeping = _HiddenMLP()
        self.evaluating = _MLP(self.keeping.forward, self.keeping.backward)

    def serves(self, x) -> bool:
        """Whether the kernel takes x."""
        return x.dtype == ms.float32 or x.dtype == ms.float16

    def construct(self, x, w1, b1, w2, b2):
        w1, b1, w2, b2 = [parameter.astype(x.dtype) for parameter in (w1, b1, w2, b2)]
        if self.training:
            return self.keeping(x, w1, b1, w2, b2)[0]
        return self.evaluating(x, w1, b1, w2, b2)


class FusedResidualMLP(nn.Cell):
    """trunk + MLP(x) in one pass, for evaluation: it has no gradients.

    Inputs: those of FusedMLP, all of x's type, and
        trunk: like x.

    Outputs:
        like x.
    """

    def __init__(self):
        super().__init__()
        self.forward = ops.Custom(cpu_function("mlp_forward"), lambda x, *_: x, lambda x, *_: x, "aot")

    def construct(self, x, w1, b1, w2, b2, trunk):
        return self.forward(x, w1, b1, w2, b2, trunk)


class _HiddenMLP(nn.Cell):
    """(y, W1 x + b1 in the kernel's own layout)."""

    def __init__(self):
        super().__init__()

        def output_shapes(x, w1, *_):
            return x, [-(-x[0] * math.prod(x[2:]) // TILE), w1[0], TILE]

        def gradient_shapes(x, hidden, dy, w1, w2):
            return x, w1, [w1[0]], w2, [w2[0]]

        kept = ms.bfloat16 if matmul_precision() == "bfloat16" else ms.float32
        self.forward = ops.Custom(cpu_function("mlp_forward_training"), output_shapes, lambda x, *_: (x, kept), "aot")
        self.backward = ops.Custom(cpu_function("mlp_backward"), gradient_shapes, lambda x, *_: (x,) * 5, "aot")

    def construct(self, x, w1, b1, w2, b2):
        return self.forward(x, w1, b1, w2, b2)

    def bprop(self, x, w1, b1, w2, b2, out, dout):
        return self.backward(x, out[1], dout[0], w1, w2)


class _MLP(nn.Cell):
    """y alone."""

    def __init__(self, forward_with_hidden, backward):
        super().__init__()
        self.forward = ops.Custom(cpu_function("mlp_forward"), lambda x, *_: x, lambda x, *_: x, "aot")
        self.forward_with_hidden = forward_with_hidden
        self.backward = backward

    def construct(self, x, w1, b1, w2, b2):
        return self.forward(x, w1, b1, w2, b2)

    def bprop(self, x, w1, b1, w2, b2, out, dout):
        hidden = self.forward_with_hidden(x, w1, b1, w2, b2)[1]
        return self.backward(x, hidden, dout, w1, w2)
