"""Layers that treat every pixel alike: one matrix product, and the two of a block with the activation between them."""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, mint, nn, ops

from neonext_ms.ops.backend import compiled, on_ascend
from neonext_ms.ops.matmul import matmul


class PointwiseProduct(nn.Cell):
    """W @ X[n] for every image n, (out, in) and (N, in, L) to (N, out, L); the gradient of W is summed in float32.

    The derived gradient of W is (N, out, in) summed over N. Where that is larger than X and Y, one product of their
    (out, N*L) and (in, N*L) transposes sums in the same pass; elsewhere it moves less than the transposes would.
    """

    def construct(self, weight, x):
        return matmul(ops.expand_dims(weight, 0), x)

    def bprop(self, weight, x, out, dout):
        transposed = mint.transpose(weight, 0, 1)  # a view, where the device has them
        dx = matmul(ops.expand_dims(transposed, 0), dout)
        out_channels, in_channels = weight.shape
        if out_channels * in_channels < x.shape[2] * (out_channels + in_channels):
            return ops.sum(ops.BatchMatMul(transpose_b=True)(dout, x), 0, dtype=ms.float32), dx
        rows_out = ops.reshape(ops.transpose(dout, (1, 0, 2)), (out_channels, -1))
        rows_in = ops.reshape(ops.transpose(x, (1, 0, 2)), (in_channels, -1))
        return ops.MatMul(transpose_b=True)(rows_out, rows_in).astype(ms.float32), dx


class Pointwise(nn.Cell):
    """A 1 x 1 convolution as one matrix product, W @ X on the (C, H*W) view; no transpose, no im2col.

    Weight (out_channels, in_channels) and bias (out_channels,) start uniform in +-1/sqrt(in_channels). The backend is
    that of NeoCell: compiled where it can be, or MindSpore's own operators ("dense").
    """

    def __init__(self, in_channels: int, out_channels: int, has_bias: bool, rng: np.random.Generator, backend="auto"):
        super().__init__()
        self.out_channels = out_channels
        bound = in_channels**-0.5
        weight = rng.uniform(-bound, bound, (out_channels, in_channels)).astype(np.float32)
        self.weight = Parameter(Tensor(weight), name="weight")
        bias = rng.uniform(-bound, bound, out_channels).astype(np.float32)
        self.bias = Parameter(Tensor(bias), name="bias") if has_bias else None
        self.product = PointwiseProduct()
        fused = compiled("pointwise", backend)
        self.fused = fused() if fused else None

    def __repr__(self):
        out_channels, in_channels = self.weight.shape
        return f"Pointwise({in_channels} -> {out_channels}, bias={self.bias is not None})"

    def construct(self, x):
        if self.fused is not None and self.fused.serves(x):
            return self.fused(x, *self.values(x))
        c, h, w = x.shape[1:]
        y = self.product(self.weight.astype(x.dtype), ops.reshape(x, (-1, c, h * w)))
        if self.bias is not None:
            y = y + ops.reshape(self.bias.astype(x.dtype), (1, -1, 1))
        return ops.reshape(y, (-1, self.out_channels, h, w))

    def values(self, x, scale=None):
        """Weight and bias for a compiled operator, which rounds them to x's type itself, but not their gradients.

        Without a bias, zeros. `scale` (out_channels,) is a factor of the output.
        """
        weight, bias = self.weight, self.bias
        if scale is not None:
            weight, bias = weight * ops.reshape(scale, (-1, 1)), bias if bias is None else bias * scale
        return weight, ops.zeros(self.out_channels, x.dtype) if bias is None else bias


class GRN(nn.Cell):
    """Global response normalisation (ConvNeXt V2, https://arxiv.org/abs/2301.00808): x + gamma x r + beta.

    r is a number for each channel of an image: the norm of its plane, divided by the mean of those of all channels.
    gamma and beta (C,) start at zero. Norms are float32.

    Inputs, Outputs:
        (N, C, H, W).
    """

    epsilon = 1e-6

    def __init__(self, channels: int):
        super().__init__()
        self.gamma = Parameter(Tensor(np.zeros(channels, np.float32)), name="gamma")
        self.beta = Parameter(Tensor(np.zeros(channels, np.float32)), name="beta")

    def __repr__(self):
        return f"GRN({len(self.gamma)})"

    def construct(self, x):
        values = x.astype(ms.float32)
        # The root of zero has no gradient: planes of zeros are usual behind GELU.
        norms = ops.sqrt(ops.sum(values * values, (2, 3), keepdim=True) + self.epsilon**2)
        response = norms / (ops.mean(norms, 1, True) + self.epsilon)
        factor = 1 + ops.reshape(self.gamma, (1, -1, 1, 1)) * response
        return (values * factor + ops.reshape(self.beta, (1, -1, 1, 1))).astype(x.dtype)


def gelu() -> nn.Cell:
    """GELU with the exact error function: on an NPU one kernel instead of five."""
    return mint.nn.GELU() if on_ascend() else nn.GELU(approximate=False)


class MLP(nn.Cell):
    """fc2(gelu(fc1(x))) at every pixel, as one compiled operator where there is one; GELU has the exact error function.

    With GRN behind GELU, which needs whole planes, there is none.

    Args:
        dim: channels of input and output.
        hidden: channels between.
        has_bias: biases in fc1 and fc2.
        rng: draws the initial weights.
        backend: as for Pointwise.
        grn: whether there is GRN.
    """

    def __init__(self, dim: int, hidden: int, has_bias: bool, rng: np.random.Generator, backend="auto", grn=False):
        super().__init__()
        fused = None if grn else compiled("mlp", backend)
        self.fused = fused() if fused else None
        # Without compiled operators of their own: what the one for both does not serve, they would not.
        backend = backend if grn else "dense"
        self.fc1 = Pointwise(dim, hidden, has_bias, rng, backend)
        self.act = gelu()
        self.grn = GRN(hidden) if grn else None
        self.fc2 = Pointwise(hidden, dim, has_bias, rng, backend)

    def __repr__(self):
        (hidden, dim), act = self.fc1.weight.shape, type(self.act).__name__
        return f"MLP({dim} -> {hidden} -> {dim}, {act})"

    def construct(self, x):
        if self.fused is not None and self.fused.serves(x):
            return self.fused(x, *self.fc1.values(x), *self.fc2.values(x))
        y = self.act(self.fc1(x))
        return self.fc2(y if self.grn is None else self.grn(y))


class GatedMLP(nn.Cell):
    """fc2(gelu(u) * neocell(v)), where fc1(x) is u and v beside one another: C -> 4 C, 2 C each, and 2 C -> C.

    Args:
        dim: C.
        neocell: for 2 C channels.
        has_bias, rng, backend: as for MLP.
        grn: whether the product goes through GRN before fc2.
    """

    def __init__(self, dim: int, neocell: nn.Cell, has_bias: bool, rng: np.random.Generator, backend="auto", grn=False):
        super().__init__()
        self.fc1 = Pointwise(dim, 4 * dim, has_bias, rng, backend)
        self.act = gelu()
        self.insert_child_to_cell("neocell", neocell)  # which keeps its name in the block
        self.grn = GRN(2 * dim) if grn else None
        self.fc2 = Pointwise(2 * dim, dim, has_bias, rng, backend)

    def construct(self, x):
        u, v = ops.split(self.fc1(x), self.fc2.weight.shape[1], 1)
        y = self.act(u) * self.neocell(v)
        return self.fc2(y if self.grn is None else self.grn(y))
