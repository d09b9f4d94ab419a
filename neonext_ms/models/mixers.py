"""What may stand in NeoCell's place, to compare with: a depthwise convolution, and WBMM's windowed product.

Both are MindSpore's own operators: there is no compiled kernel of them, so their time is not to be compared.
"""

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from neonext_ms.errors import UserError
from neonext_ms.ops.matmul import matmul


class DepthwiseConv(nn.Cell):
    """A zero-padded k x k convolution of every channel by itself, without bias, as one product of matrices.

    MindSpore's own convolution made a training step of neonext_pico at 32 pixels take five times as long.

    Args:
        channels, kernel: C and an odd k.
        init: "neo": the identity and uniform noise of +-1/k, as strong as NeoInit's on 7 x 7; "identity" leaves the
            noise out, "normal" the identity.
        rng: draws the initial weight (C, k, k).

    Inputs, Outputs:
        (N, C, H, W).
    """

    def __init__(self, channels: int, kernel: int, init: str, rng: np.random.Generator):
        super().__init__()
        self.weight = Parameter(Tensor(_fresh((channels, kernel, kernel), kernel, init, rng)), name="weight")

    def __repr__(self):
        channels, *kernel = self.weight.shape
        return f"DepthwiseConv({channels} x {'x'.join(map(str, kernel))})"

    def construct(self, x):
        k = self.weight.shape[1]
        height, width = x.shape[2:]
        edge = [ops.zeros_like(x[:, :, :1])] * (k // 2)  # without the batch's size, which may be left open
        padded = ops.concat([*edge, x, *edge], 2)
        rows = ops.concat([padded[:, :, i : i + height] for i in range(k)], 3)
        return matmul(rows, ops.expand_dims(self.bands(width).astype(x.dtype), 0))

    def bands(self, width: int):
        """(C, k W, W): for every row of the kernels the matrix that convolves a row of the plane with it."""
        c, k, _ = self.weight.shape
        lines = self.weight[:, :, max(0, k // 2 - width + 1) : k // 2 + width]
        missing = width - 1 - k // 2
        if missing > 0:
            zeros = ops.zeros((c, k, missing), lines.dtype)
            lines = ops.concat((zeros, lines, zeros), 2)
        columns = [lines[:, :, width - 1 - j : 2 * width - 1 - j] for j in range(width)]
        return ops.reshape(ops.stack(columns, 3), (c, k * width, width))


class WindowedProduct(nn.Cell):
    """WBMM's operator (https://arxiv.org/abs/2607.02097): each w x w window of a channel times one w^2 x w^2 matrix.

    y[i, j] = sum over the pixels (k, l) of its window of T[i - k + w - 1, j - l + w - 1] x[k, l], with a table T of
    relative positions for every channel.

    Args:
        channels, window: C and w.
        init: as for `DepthwiseConv`, with w for k.
        rng: draws the initial weight, the tables (C, 2 w - 1, 2 w - 1).

    Inputs, Outputs:
        (N, C, H, W), H and W multiples of w.

    Raises:
        UserError: a plane that the windows do not divide.
    """

    def __init__(self, channels: int, window: int, init: str, rng: np.random.Generator):
        super().__init__()
        side = 2 * window - 1
        self.window = window
        self.weight = Parameter(Tensor(_fresh((channels, side, side), window, init, rng)), name="weight")

    def __repr__(self):
        return f"WindowedProduct({len(self.weight)} x {self.window}x{self.window})"

    def construct(self, x):
        w = self.window
        c, height, width = x.shape[1:]
        _check_plane(height, width, w)
        windows = ops.reshape(x, (-1, c, height // w, w, width // w, w))
        windows = ops.reshape(ops.transpose(windows, (1, 3, 5, 0, 2, 4)), (c, w * w, -1))
        y = ops.reshape(matmul(self.matrices().astype(x.dtype), windows), (c, w, w, -1, height // w, width // w))
        return ops.reshape(ops.transpose(y, (3, 0, 4, 1, 5, 2)), (-1, c, height, width))

    def matrices(self):
        """(C, w^2, w^2): those of all channels, by slices of their tables."""
        w, c = self.window, len(self.weight)
        turned = ops.flip(self.weight, (1, 2))  # T[a, b] at [2 w - 2 - a, 2 w - 2 - b]: k and l count up
        rows = ops.stack([turned[:, w - 1 - i : 2 * w - 1 - i] for i in range(w)], 1)
        both = ops.stack([rows[..., w - 1 - j : 2 * w - 1 - j] for j in range(w)], 2)
        return ops.reshape(both, (c, w * w, w * w))


def _fresh(shape: tuple[int, ...], size: int, init: str, rng: np.random.Generator) -> np.ndarray:
    """Initial weights of planes whose middle is a pixel's own place."""
    weight = rng.uniform(-1 / size, 1 / size, shape) if init != "identity" else np.zeros(shape)
    if init != "normal":
        weight[..., shape[-2] // 2, shape[-1] // 2] += 1
    return weight.astype(np.float32)


@ops.constexpr
def _check_plane(height: int, width: int, window: int):
    if height % window or width % window:
        raise UserError(
            f"windows of {window} x {window} do not divide a plane of {height} x {width}: give kernels that divide the "
            "planes of all stages"
        )
