"""NeoCell as the paper's Eq. 1: cut the plane into patches, multiply every patch from the left and from the right.

Slower than the block-diagonal form (the paper measures a factor of 15); kept as a readable specification and to
reproduce that comparison.
"""

from mindspore import Tensor, ops

from neonext_ms.ops.matmul import matmul


def patchwise_neocell(x: Tensor, left, right, left_runs, right_runs, h_out: int, w_out: int) -> Tensor:
    """Arguments and result as for `dense_neocell`."""
    parts = []
    first = 0
    for i in range(len(left_runs)):
        for start, stop, s, t in _common_runs(left_runs[i], right_runs[i]):
            patches = x[:, first + start : first + stop]
            parts.append(_patches_product(patches, left[i][start:stop], right[i][start:stop], s, t, h_out, w_out))
        first += left_runs[i][-1][1]
    return parts[0] if len(parts) == 1 else ops.concat(parts, 1)


def _common_runs(left_runs, right_runs):
    """Channel runs (first, last + 1, left shift, right shift) in which neither shift changes."""
    runs = []
    for first_l, last_l, s in left_runs:
        for first_r, last_r, t in right_runs:
            start, stop = max(first_l, first_r), min(last_l, last_r)
            if start < stop:
                runs.append((start, stop, s, t))
    return runs


def _patches_product(x: Tensor, left: Tensor, right: Tensor, s: int, t: int, h_out: int, w_out: int) -> Tensor:
    """One run of channels: pad to whole patches, multiply each, put them back, cut to size.

    Zero rows and columns stand where a truncated block reaches beyond the plane; a shift s starts the first patch
    (k - s) % k rows above it.
    """
    n, c, h, w = x.shape
    h_block, h_in = left.shape[1:]
    w_in, w_block = right.shape[1:]
    top, side = (h_block - s) % h_block, (w_block - t) % w_block
    count_h, count_w = -(-(h_out + top) // h_block), -(-(w_out + side) // w_block)
    x = _window(x, -top, count_h * h_in, -side, count_w * w_in)
    x = ops.transpose(ops.reshape(x, (-1, c, count_h, h_in, count_w, w_in)), (0, 1, 2, 4, 3, 5))
    x = matmul(
        matmul(ops.reshape(left, (1, c, 1, 1, h_block, h_in)), x), ops.reshape(right, (1, c, 1, 1, w_in, w_block))
    )
    x = ops.reshape(ops.transpose(x, (0, 1, 2, 4, 3, 5)), (-1, c, count_h * h_block, count_w * w_block))
    return x[:, :, top : top + h_out, side : side + w_out]


def _window(x: Tensor, top: int, rows: int, side: int, cols: int) -> Tensor:
    """Rows top..top+rows and columns side..side+cols of every plane, zero where there is no plane."""
    h, w = x.shape[2:]
    x = x[:, :, : min(h, top + rows), : min(w, side + cols)]
    below, beyond = max(0, top + rows - h), max(0, side + cols - w)
    if top or side or below or beyond:
        # Not ops.pad: its gradient, run a few times, may never return on MindSpore 2.10's CPU.
        x = ops.Pad(((0, 0), (0, 0), (-top, below), (-side, beyond)))(x)
    return x
