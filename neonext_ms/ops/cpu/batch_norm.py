"""BatchNorm in training as compiled operators for CPUs: the sums and the result while a channel is in the cache."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.ops.signature import make_sig, sig_rw

from neonext_ms.ops.cpu.library import cpu_library


class FusedBatchNorm(nn.Cell):
    """(x - mean) / sqrt(variance + eps) gamma + beta with mean and variance of the batch; arithmetic is float32.

    Args:
        eps: added to the variance.
        kept: moving statistics become kept times themselves, and 1 - kept times those of the batch; the variance's
            is that of a sample, n / (n - 1) times what x is divided by.

    Inputs:
        x: (N, C, H, W), float32 or float16.
        gamma, beta: (C,) float32.
        moving_mean, moving_variance: Parameters (C,) float32, which are changed.

    Outputs:
        (N, C, H, W), type of x; then what the gradients need.
    """

    def __init__(self, eps: float, kept: float):
        super().__init__(auto_prefix=False)
        self.numbers = Tensor(np.array([eps, kept], np.float32))
        self.forward = _moving("batch_norm_forward", lambda x: (x, [x[1]], [x[1]], [x[1]]), True)
        self.backward = batch_norm_backward()

    def serves(self, x) -> bool:
        """Whether the kernel takes x."""
        return x.dtype == ms.float32 or x.dtype == ms.float16

    def construct(self, x, gamma, beta, moving_mean, moving_variance):
        return self.forward(self.numbers, x, gamma, beta, moving_mean, moving_variance)

    def bprop(self, x, gamma, beta, moving_mean, moving_variance, out, dout):
        dx, dgamma, dbeta = self.backward(x, dout[0], out[1], out[2], out[3])
        return dx, dgamma, dbeta, dbeta, dbeta  # nobody asks for those of the statistics


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
