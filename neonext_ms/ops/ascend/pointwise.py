"""Pointwise layers and the MLP of a block through the AscendC operators, for Ascend 910B and 910_93.

As for NeoCell, a CPU runs the very same Cells on the emulator's library.
Letters: N images, K channels in, M channels out.
"""

import mindspore as ms
from mindspore import nn, ops

from neonext_ms.ops.ascend.operator import FLOAT, HALF, INSTALLED, operator
from neonext_ms.ops.ascend.tiling import pointwise_refusal, prefers_mlp, weight_splits
from neonext_ms.ops.fallback import warn_fallback


class AscendPointwise(nn.Cell):
    """y = W x + b at every pixel, one launch forward and two backward.

    Args:
        operators: what stands before an operator's name, as in `operator`.

    Inputs:
        x: (N, K, H, W), float16 or bfloat16.
        weight: (M, K), bias: (M,): any float type, rounded to that of x.

    Outputs:
        (N, M, H, W), type of x. The gradients have the types of the inputs.
    """

    def __init__(self, operators: str = INSTALLED):
        super().__init__()
        self.kept = _KeptPointwise(operators)

    def serves(self, x) -> bool:
        """Whether the operators take x; where they do not, one warning says why. Decided when a graph is compiled."""
        return _serves(x.dtype, x.shape)

    def construct(self, x, weight, bias):
        return self.kept(x, weight, bias)[0]


class _KeptPointwise(nn.Cell):
    """(y, W rounded once for both directions); only y has a gradient."""

    def __init__(self, operators: str):
        super().__init__()
        self.forward = _layer(f"{operators}Pointwise", outputs="y")
        self.gradients = PointwiseGradients(operators)

    def construct(self, x, weight, bias):
        rounded = weight.astype(x.dtype)
        return self.forward(x, rounded, bias.astype(x.dtype)), rounded

    def bprop(self, x, weight, bias, out, dout):
        dx, dw, db = self.gradients(dout[0], x, out[1])
        return dx, dw.astype(weight.dtype), db.astype(bias.dtype)


class PointwiseGradients(nn.Cell):
    """(dx, dW, db) of y = W x + b from dy, x and W; dW and db are float32."""

    def __init__(self, operators: str):
        super().__init__()
        self.input_gradient = operator(
            f"{operators}PointwiseInputGrad",
            {"dy": HALF, "w": HALF},
            {"dx": HALF},
            lambda dy, w: [dy[0], w[1], *dy[2:]],
            lambda dy, w: dy,
        )
        self.weight_gradient = operator(
            f"{operators}PointwiseWeightGrad",
            {"dy": HALF, "x": HALF},
            {"dw": FLOAT, "db": FLOAT},
            _weight_gradient_shapes,
            lambda dy, x: (ms.float32, ms.float32),
        )

    def construct(self, dy, x, weight):
        return self.input_gradient(dy, weight), *self.of_weight(dy, x)

    def of_weight(self, dy, x):
        """dW and db alone."""
        dw, db = self.weight_gradient(dy, x)
        return ops.sum(dw, 0), ops.sum(db, 0)


class AscendBranch(nn.Cell):
    """trunk + s (W2 gelu(W1 x + b1) + b2) in two launches, five backward; GELU has the exact error function.

    Without training it is one launch where that is faster (`prefers_mlp`).

    A scale of the channels belongs into W2 and b2. In training W1 x + b1 and its GELU stay in memory for the gradients,
    unless `recompute` was called: then a sixth launch makes them again.

    Args:
        operators: what stands before an operator's name, as in `operator`.

    Inputs:
        trunk, x: (N, C, H, W), float16 or bfloat16.
        w1: (hidden, C), b1: (hidden,), w2: (C, hidden), b2: (C,): any float type, rounded to that of x.
        s: (N,), float32, a factor for each image, or None for 1; it has no gradient.

    Outputs:
        (N, C, H, W), type of x. The gradients have the types of the inputs.
    """

    def __init__(self, operators: str = INSTALLED):
        super().__init__()
        self.hidden = _layer(f"{operators}PointwiseGelu", outputs="y")
        self.residual = operator(
            f"{operators}PointwiseResidual",
            {"x": HALF, "w": HALF, "b": HALF, "r": HALF, "s": FLOAT},
            {"y": HALF},
            lambda x, w, b, r, s: r,
            lambda x, w, b, r, s: x,
        )
        self.whole = operator(
            f"{operators}PointwiseMlp",
            {"x": HALF, "w1": HALF, "b1": HALF, "w2": HALF, "b2": HALF, "r": HALF, "s": FLOAT},
            {"y": HALF},
            lambda x, w1, b1, w2, b2, r, s: x,
            lambda x, w1, b1, w2, b2, r, s: x,
        )
        self.kept = _KeptBranch(operators, self.residual, scaled=False)
        self.kept_scaled = _KeptBranch(operators, self.residual, scaled=True)

    def serves(self, x) -> bool:
        """Whether the operators take x; where they do not, one warning says why. Decided when a graph is compiled."""
        return _serves(x.dtype, x.shape)

    def recompute(self, **kwargs):
        """In the place of MindSpore's, which has no effect on a Cell with gradients of its own; before compilation."""
        self.kept.again = self.kept_scaled.again = True

    def construct(self, trunk, x, w1, b1, w2, b2, s):
        factors = ops.ones(x.shape[:1], ms.float32) if s is None else s.astype(ms.float32)
        if not self.training:
            w1, b1, w2, b2 = _rounded((w1, b1, w2, b2), x)
            if _prefers_mlp(x.shape, w1.shape):
                return self.whole(x, w1, b1, w2, b2, trunk, factors)
            return self.residual(self.hidden(x, w1, b1), w2, b2, trunk, factors)
        kept = self.kept if s is None else self.kept_scaled
        return kept(trunk, x, w1, b1, w2, b2, factors)[0]


class _KeptBranch(nn.Cell):
    """(y, W1 and W2 rounded once for both directions, gelu(z), z = W1 x + b1); only y has a gradient.

    `scaled`: s is not 1 everywhere. Where `again` is set, gelu(z) and z are not kept but computed again.
    """

    def __init__(self, operators: str, residual: ops.Custom, scaled: bool):
        super().__init__()
        self.scaled = scaled
        self.again = False
        self.hidden = _layer(f"{operators}PointwiseGeluKept", outputs="yz")
        self.residual = residual
        self.gradients = PointwiseGradients(operators)
        self.hidden_gradient = operator(
            f"{operators}PointwiseGeluGrad",
            {"dy": HALF, "w": HALF, "z": HALF},
            {"dz": HALF},
            lambda dy, w, z: z,
            lambda dy, w, z: z,
        )

    def construct(self, trunk, x, w1, b1, w2, b2, s):
        w1, b1, w2, b2 = _rounded((w1, b1, w2, b2), x)
        hidden, z = self.hidden(x, w1, b1)
        y = self.residual(hidden, w2, b2, trunk, s)
        return (y, w1, w2) if self.again else (y, w1, w2, hidden, z)

    def bprop(self, trunk, x, w1, b1, w2, b2, s, out, dout):
        dy = dout[0]
        if self.scaled:
            dy = dy * ops.reshape(s.astype(dy.dtype), (-1, 1, 1, 1))
        rounded1, rounded2 = out[1], out[2]
        if self.again:  # of an x that depends on dy: MindSpore would take the forward's results for the same
            hidden, z = self.hidden(ops.depend(x, dy), rounded1, b1.astype(x.dtype))
        else:
            hidden, z = out[3], out[4]
        dw2, db2 = self.gradients.of_weight(dy, hidden)
        dx, dw1, db1 = self.gradients(self.hidden_gradient(dy, rounded2, z), x, rounded1)
        dw1, db1, dw2, db2 = dw1.astype(w1.dtype), db1.astype(b1.dtype), dw2.astype(w2.dtype), db2.astype(b2.dtype)
        return dout[0], dx, dw1, db1, dw2, db2, ops.zeros_like(s)


def _rounded(parameters, x):
    return [parameter.astype(x.dtype) for parameter in parameters]


def _layer(name: str, outputs: str) -> ops.Custom:
    """An operator on x, w and b with outputs (N, M, H, W), named by a letter each."""

    def shape(x, w, b):
        y = [x[0], w[0], *x[2:]]
        return y if len(outputs) == 1 else (y,) * len(outputs)

    def dtype(x, w, b):
        return x if len(outputs) == 1 else (x,) * len(outputs)

    return operator(name, {"x": HALF, "w": HALF, "b": HALF}, dict.fromkeys(outputs, HALF), shape, dtype)


def _weight_gradient_shapes(dy, x):
    splits = weight_splits(x[0], x[1], dy[1], x[2] * x[3])
    return [splits, dy[1], x[1]], [splits, dy[1]]


@ops.constexpr
def _prefers_mlp(x, w1) -> bool:
    return prefers_mlp(x[0], x[1], w1[0], x[2] * x[3])


@ops.constexpr
def _serves(dtype, shape) -> bool:
    if dtype not in (ms.float16, ms.bfloat16):
        reason = f"the AscendC operators take float16 and bfloat16, not {str(dtype).lower()}"
    else:
        reason = pointwise_refusal(shape[1], shape[1], shape[2] * shape[3])
    if reason:
        warn_fallback(reason)
    return not reason
