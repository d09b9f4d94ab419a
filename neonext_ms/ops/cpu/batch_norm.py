"""BatchNorm as compiled operators for CPUs: the sums and the result while a channel is in the cache."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore._c_expression import MixedPrecisionType
from mindspore.ops.signature import make_sig, sig_rw

from neonext_ms.ops.cpu.library import cpu_library


class KeepsTypes(nn.Cell):
    """A Cell whose inputs reach its kernels in the types that it gives them, whatever `network.to_float` says."""

    def __init__(self):
        super().__init__(auto_prefix=False)
        self.mixed_precision_type = MixedPrecisionType.NOTSET  # in PyNative that of the parent would stay in force

    def add_flags_recursive(self, **flags):
        """MindSpore's without the flags of `to_float`."""
        kept = {name: value for name, value in flags.items() if name not in ("fp16", "fp32", "bf16")}
        return super().add_flags_recursive(**kept)


class FusedBatchNorm(KeepsTypes):
    """(x - mean) / sqrt(variance + eps) gamma + beta; arithmetic is float32.

    Args:
        eps: added to the variance.
        kept: moving statistics become kept times themselves, and 1 - kept times those of the batch; the variance's
            is that of a sample, n / (n - 1) times what x is divided by.

    Inputs:
        x: (N, C, H, W), float32 or float16.
        gamma, beta, moving_mean, moving_variance: (C,); the moving ones, where they move, Parameters in float32.
        of_batch: whether mean and variance are those of the batch, which then move those, or the moving ones.

    Outputs:
        (N, C, H, W), type of x.
    """

    def __init__(self, eps: float, kept: float):
        super().__init__()
        self.eps = eps
        self.numbers = Tensor(np.array([eps, kept], np.float32))
        self.by_batch = _OfBatch()
        self.by_moving = _Affine()

    def serves(self, x) -> bool:
        """Whether the kernel takes x."""
        return x.dtype == ms.float32 or x.dtype == ms.float16

    def construct(self, x, gamma, beta, moving_mean, moving_variance, of_batch):
        gamma, beta = gamma.astype(ms.float32), beta.astype(ms.float32)
        if of_batch:
            return self.by_batch(x, self.numbers, gamma, beta, moving_mean, moving_variance)[0]
        centre, scale = moving_affine(gamma, moving_mean, moving_variance, self.eps)
        return self.by_moving(x, centre, scale, beta)


class _OfBatch(nn.Cell):
    """y, then what the gradients need."""

    def __init__(self):
        super().__init__()
        self.forward = _moving("batch_norm_forward", lambda x: (x, [x[1]], [x[1]], [x[1]]), True)
        self.backward = batch_norm_backward()

    def construct(self, x, numbers, gamma, beta, moving_mean, moving_variance):
        return self.forward(numbers, x, gamma, beta, moving_mean, moving_variance)

    def bprop(self, x, numbers, gamma, beta, moving_mean, moving_variance, out, dout):
        dx, dgamma, dbeta = self.backward(x, dout[0], out[1], out[2], out[3])
        return dx, ops.zeros_like(numbers), dgamma, dbeta, dbeta, dbeta  # nobody asks for those of the statistics


class _Affine(nn.Cell):
    """(x - centre) scale + shift."""

    def __init__(self):
        super().__init__()
        self.forward = ops.Custom(f"{cpu_library()}:batch_norm_apply", lambda x, *_: x, lambda x, *_: x, "aot")

    def construct(self, x, centre, scale, shift):
        return self.forward(x, centre, scale, shift)

    def bprop(self, x, centre, scale, shift, out, dout):
        return affine_gradients(x, dout, centre, scale)


def moving_affine(gamma, moving_mean, moving_variance, eps: float):
    """centre and scale with which (x - centre) scale + beta is normalised by the moving statistics; float32."""
    return moving_mean.astype(ms.float32), gamma * ops.rsqrt(moving_variance.astype(ms.float32) + eps)


def affine_gradients(x, dz, centre, scale):
    """Gradients of x, centre (zeros: nobody asks), scale and shift (C,) for that of z = (x - centre) scale + shift."""
    values, from_centre = dz.astype(ms.float32), x.astype(ms.float32) - ops.reshape(centre, (1, -1, 1, 1))
    dx = values * ops.reshape(scale, (1, -1, 1, 1))
    dshift = ops.sum(values, (0, 2, 3))
    dscale = ops.sum(values * from_centre, (0, 2, 3))
    return dx.astype(x.dtype), ops.zeros_like(centre), dscale, dshift


def batch_statistics() -> ops.Custom:
    """(mean, 1 / sqrt(variance + eps), that times gamma) of what FusedBatchNorm's kernel takes."""
    return _moving("batch_norm_statistics", lambda x: ([x[1]], [x[1]], [x[1]]), False)


def batch_norm_backward() -> ops.Custom:
    """(dx, dgamma, dbeta) from x, dy and what `batch_statistics` gives."""
    return ops.Custom(
        f"{cpu_library()}:batch_norm_backward",
        lambda x, *_: (x, [x[1]], [x[1]]),
        lambda x, *_: (x, ms.float32, ms.float32),
        "aot",
    )


def _moving(name: str, shapes, normalises: bool) -> ops.Custom:
    """An operator that changes the moving statistics, with three outputs of a value a channel, behind y if there is."""
    custom = ops.Custom(
        f"{cpu_library()}:{name}",
        lambda _, x, *others: shapes(x),
        lambda _, x, *others: ((x,) if normalises else ()) + (ms.float32,) * 3,
        "aot",
    )
    custom.add_prim_attr("side_effect_mem", True)
    names = "numbers", "x", "gamma", "beta"
    changed = [make_sig(name, sig_rw.RW_REF) for name in ("moving_mean", "moving_variance")]
    custom.set_signatures([*map(make_sig, names), *changed])
    return custom
