"""NeoCell as the paper's Eq. 1: cut the plane into patches, multiply every patch from the left and from the right.

Slower than the block-diagonal form (the paper measures a factor of 15); kept as a readable specification and to
reproduce that comparison.
"""

from mindspore import Tensor, ops

from neonext_ms.ops.formulation import Formulation, add_bias, repeated
from neonext_ms.ops.matmul import matmul


class PatchwiseNeoCell(Formulation):
    """One product of small matrices a patch and side, in the type of x."""

    def construct(self, x, left, right, bias):
        copies, h_out, w_out = self.output_size(x)
        parts = []
        first = 0
        for i in range(len(left)):
            a, b = repeated(left[i].astype(x.dtype), copies), repeated(right[i].astype(x.dtype), copies)
            last = first + a.shape[0]
            runs = _common_runs(self.left_runs[i], self.right_runs[i], a.shape[1], b.shape[2], copies)
            parts.append(_group_product(x[:, first:last], a, b, runs, (h_out, w_out)))
            first = last
        return add_bias(_joined(parts), bias)


@ops.constexpr
def _common_runs(left_runs, right_runs, h_block: int, w_block: int, copies: int):
    """Runs of planes (first, last + 1, top, side) in which no shift changes; each channel has `copies` planes.

    A shift of s rows starts the first row of patches `top` rows above the plane's output, top = (k - s) % k; likewise
    `side` for columns.
    """
    runs = []
    for first_l, last_l, s in left_runs:
        for first_r, last_r, t in right_runs:
            start, stop = max(first_l, first_r), min(last_l, last_r)
            if start < stop:
                runs.append((start * copies, stop * copies, (h_block - s) % h_block, (w_block - t) % w_block))
    return tuple(runs)


def _group_product(x: Tensor, left: Tensor, right: Tensor, runs, size: tuple[int, int]) -> Tensor:
    """The channels of one group: cut into whole patches, multiply each, put them back, cut to size (H', W')."""
    h_out, w_out = size
    c, h_block, h_in = left.shape
    w_in, w_block = right.shape[1:]
    # As many patches as the run that starts furthest out needs, so that one product serves all.
    count_h = -(-(h_out + max([run[2] for run in runs])) // h_block)
    count_w = -(-(w_out + max([run[3] for run in runs])) // w_block)
    windows = [
        _window(x[:, start:stop], -top, count_h * h_in, -side, count_w * w_in) for start, stop, top, side in runs
    ]
    patches = ops.reshape(_joined(windows), (-1, c, count_h, h_in, count_w, w_in))
    patches = ops.transpose(patches, (0, 1, 2, 4, 3, 5))
    left = ops.reshape(left, (1, c, 1, 1, h_block, h_in))
    right = ops.reshape(right, (1, c, 1, 1, w_in, w_block))
    patches = ops.transpose(matmul(matmul(left, patches), right), (0, 1, 2, 4, 3, 5))
    planes = ops.reshape(patches, (-1, c, count_h * h_block, count_w * w_block))
    return _joined([planes[:, start:stop, top : top + h_out, side : side + w_out] for start, stop, top, side in runs])


def _joined(parts) -> Tensor:
    """Channels of all parts."""
    return parts[0] if len(parts) == 1 else ops.concat(parts, 1)


def _window(x: Tensor, top: int, rows: int, side: int, cols: int) -> Tensor:
    """Rows top..top+rows and columns side..side+cols of every plane, zero where there is no plane."""
    h, w = x.shape[2:]
    x = x[:, :, : min(h, top + rows), : min(w, side + cols)]
    below, beyond = max(0, top + rows - h), max(0, side + cols - w)
    if top or side or below or beyond:
        # Not ops.pad: its gradient, run a few times, may never return on MindSpore 2.10's CPU.
        x = ops.Pad(((0, 0), (0, 0), (-top, below), (-side, beyond)))(x)
    return x
