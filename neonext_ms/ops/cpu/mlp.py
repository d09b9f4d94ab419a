"""The MLP of a block as one compiled operator for CPUs: two matrix products with GELU between them, at every pixel."""

import math

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from neonext_ms.ops.cpu.batch_norm import (
    KeepsTypes,
    affine_gradients,
    batch_norm_backward,
    batch_statistics,
    moving_affine,
)
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

    Inputs: those of FusedMLP, all of x's type or, of weights, packed (`pack_weights`), and
        trunk: like x.

    Outputs:
        like x.
    """

    def __init__(self):
        super().__init__()
        self.forward = _forward()

    def construct(self, x, w1, b1, w2, b2, trunk):
        ones, zeros = ops.ones(x.shape[1:2], ms.float32), ops.zeros(x.shape[1:2], ms.float32)
        return self.forward(x, w1, b1, w2, b2, trunk, ops.ones(x.shape[:1], ms.float32), zeros, ones, zeros)


class FusedBranch(KeepsTypes):
    """trunk + keep MLP(BatchNorm(x)): what follows the NeoCell in a block, in one pass beside that of the statistics.

    What BatchNorm gives is never in memory: it is computed where the MLP reads x, and again for the gradients. So are
    the hidden values if `recompute` was called; else they are kept in training.

    Args:
        eps, kept: of BatchNorm, as for FusedBatchNorm.

    Inputs:
        trunk: (N, C, H, W), float32 or float16.
        x: like trunk.
        norm: (gamma, beta, moving mean, moving variance), (C,) each; the moving ones, where they move, Parameters in
            float32.
        of_batch: whether x is normalised by its own statistics, which then move those.
        weights: (w1, b1, w2, b2) as for FusedMLP.
        keep: (N,), a factor for each image, or None for 1; it has no gradient.

    Outputs:
        like trunk.
    """

    def __init__(self, eps: float, kept: float):
        super().__init__()
        self.eps = eps
        self.numbers = Tensor(np.array([eps, kept], np.float32))
        self.of_batch = _BatchBranch()
        self.keeping = _AffineBranch(keeping=True)
        self.evaluating = _AffineBranch(keeping=False)
        self.again = False

    def serves(self, x) -> bool:
        """Whether the kernel takes x."""
        return x.dtype == ms.float32 or x.dtype == ms.float16

    def recompute(self, **kwargs):
        """In the place of MindSpore's, which has no effect on a Cell with gradients of its own; before compilation."""
        self.again = self.of_batch.again = True

    def construct(self, trunk, x, norm, of_batch, weights, keep):
        w1, b1, w2, b2 = [parameter.astype(x.dtype) for parameter in weights]
        factors = ops.ones(x.shape[:1], ms.float32) if keep is None else keep.astype(ms.float32)
        gamma, beta, moving_mean, moving_variance = norm
        gamma, beta = gamma.astype(ms.float32), beta.astype(ms.float32)
        if of_batch:
            args = self.numbers, gamma, beta, moving_mean, moving_variance
            return self.of_batch(trunk, x, w1, b1, w2, b2, factors, *args)[0]
        centre, scale = moving_affine(gamma, moving_mean, moving_variance, self.eps)
        if self.training and not self.again:
            return self.keeping(trunk, x, w1, b1, w2, b2, factors, centre, scale, beta)[0]
        return self.evaluating(trunk, x, w1, b1, w2, b2, factors, centre, scale, beta)


class _AffineBranch(nn.Cell):
    """trunk + keep MLP((x - centre) scale + shift); where hidden values are kept, they are a second output."""

    def __init__(self, keeping: bool):
        super().__init__()
        self.is_keeping = keeping
        self.forward = _forward()
        self.with_hidden = _hidden_forward()
        self.backward = _backward()

    def construct(self, trunk, x, w1, b1, w2, b2, keep, centre, scale, shift):
        if self.is_keeping:
            return self.with_hidden(x, w1, b1, w2, b2, trunk, keep, centre, scale, shift)
        return self.forward(x, w1, b1, w2, b2, trunk, keep, centre, scale, shift)

    def bprop(self, trunk, x, w1, b1, w2, b2, keep, centre, scale, shift, out, dout):
        if self.is_keeping:
            dy, hidden = dout[0], out[1]
        else:
            dy = dout
            hidden = self.with_hidden(ops.depend(x, dy), w1, b1, w2, b2, trunk, keep, centre, scale, shift)[1]
        dz, *dweights = self.backward(x, hidden, dy, w1, w2, keep, centre, scale, shift)
        dx, *daffine = affine_gradients(x, dz, centre, scale)
        return dy, dx, *dweights, ops.zeros_like(keep), *daffine


class _BatchBranch(nn.Cell):
    """(trunk + keep MLP(BatchNorm(x)), what its gradients need) by the statistics of the batch.

    Where `again` is set, the hidden values are not kept but computed again.
    """

    def __init__(self):
        super().__init__()
        self.again = False
        self.statistics = batch_statistics()
        self.alone = _forward()
        self.forward = _hidden_forward()
        self.backward = _backward()
        self.norm_backward = batch_norm_backward()

    def construct(self, trunk, x, w1, b1, w2, b2, keep, numbers, gamma, beta, moving_mean, moving_variance):
        mean, deviation, scale = self.statistics(numbers, x, gamma, beta, moving_mean, moving_variance)
        if self.again:
            return self.alone(x, w1, b1, w2, b2, trunk, keep, mean, scale, beta), mean, deviation, scale
        y, hidden = self.forward(x, w1, b1, w2, b2, trunk, keep, mean, scale, beta)
        return y, mean, deviation, scale, hidden

    def bprop(self, trunk, x, w1, b1, w2, b2, keep, numbers, gamma, beta, moving_mean, moving_variance, out, dout):
        dy, mean, deviation, scale = dout[0], out[1], out[2], out[3]
        if self.again:  # of an x that depends on dy: not before the backward pass comes to it
            hidden = self.forward(ops.depend(x, dy), w1, b1, w2, b2, trunk, keep, mean, scale, beta)[1]
        else:
            hidden = out[4]
        dz, *dweights = self.backward(x, hidden, dy, w1, w2, keep, mean, scale, beta)
        dx, dgamma, dbeta = self.norm_backward(x, dz, mean, deviation, scale)
        none = ops.zeros_like(numbers)
        # Nobody asks for the gradients of the statistics.
        return dy, dx, *dweights, ops.zeros_like(keep), none, dgamma, dbeta, dbeta, dbeta


def _custom(name: str, shape, dtype) -> ops.Custom:
    return ops.Custom(cpu_function(name), shape, dtype, "aot")


def _forward() -> ops.Custom:
    """y alone."""
    return _custom("mlp_forward", lambda x, *_: x, lambda x, *_: x)


def _hidden_forward() -> ops.Custom:
    """(y, what GELU is taken of in the kernel's own layout)."""
    kept = ms.bfloat16 if matmul_precision() == "bfloat16" else ms.float32
    return _custom(
        "mlp_forward_training",
        lambda x, w1, *_: (x, [-(-x[0] * math.prod(x[2:]) // TILE), w1[0], TILE]),
        lambda x, *_: (x, kept),
    )


def _backward() -> ops.Custom:
    """(dx, dw1, db1, dw2, db2)."""
    return _custom(
        "mlp_backward",
        lambda x, hidden, dy, w1, w2, *_: (x, w1, [w1[0]], w2, [w2[0]]),
        lambda x, *_: (x,) * 5,
    )


class _HiddenMLP(nn.Cell):
    """(y, what GELU is taken of)."""

    def __init__(self):
        super().__init__()
        self.forward = _hidden_forward()
        self.backward = _backward()

    def construct(self, x, w1, b1, w2, b2):
        return self.forward(x, w1, b1, w2, b2)

    def bprop(self, x, w1, b1, w2, b2, out, dout):
        return self.backward(x, out[1], dout[0], w1, w2)


class _MLP(nn.Cell):
    """y alone."""

    def __init__(self, forward_with_hidden, backward):
        super().__init__()
        self.forward = _forward()
        self.forward_with_hidden = forward_with_hidden
        self.backward = backward

    def construct(self, x, w1, b1, w2, b2):
        return self.forward(x, w1, b1, w2, b2)

    def bprop(self, x, w1, b1, w2, b2, out, dout):
        hidden = self.forward_with_hidden(x, w1, b1, w2, b2)[1]
        return self.backward(x, hidden, dout, w1, w2)
