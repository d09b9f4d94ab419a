"""Block-diagonal matrices from small blocks (paper, section 3.4), in a graph with gradients or as constants."""

import functools
from collections.abc import Sequence

import numpy as np
from mindspore import Tensor, ops


def assemble(blocks, runs, rows: int, cols: int) -> Tensor:
    """The matrices of all channels of a cell: windows of infinite block-diagonal matrices.

    One product with a constant matrix of zeros and ones puts every value of the blocks where it belongs, so it changes
    no bit, and its gradient, the sum over the copies, is another product. The cube unit does that in two kernels where
    slices, which NPUs take one by one and on the slow path, would take some for every shift. There is no gather or
    scatter either.

    Args:
        blocks: per group (C_g, r, q), of one float type.
        runs: per group its channel runs (first, last + 1, shift); with a shift of s there is a block corner at (s, s).
        rows, cols: size of the matrices.

    Returns:
        (C, rows, cols), type of the blocks.
    """
    parts = []
    for i in range(len(runs)):
        c, r, q = blocks[i].shape
        values = ops.reshape(blocks[i], (c, r * q))
        if len(runs[i]) > 1:
            # A place for every shift; a channel's values stand at its own, among zeros.
            values = ops.reshape(values, (c, 1, r * q)) * _own_shift(runs[i], values.dtype)
            values = ops.reshape(values, (c, -1))
        placed = ops.MatMul()(values, _placement(runs[i], (r, q), (rows, cols), values.dtype))
        parts.append(ops.reshape(placed, (c, rows, cols)))
    return parts[0] if len(parts) == 1 else ops.concat(parts, 0)


def assemble_both(left, right, runs, size: int) -> Tensor:
    """A and B of a cell whose two sides are alike, in half as many kernels as by `assemble`.

    Args:
        left, right: per group (C_g, k, k), of one float type.
        runs: of both.
        size: height and width of the planes.

    Returns:
        (2, C, size, size), type of the blocks.
    """
    parts = []
    for i in range(len(runs)):
        c, k, _ = left[i].shape
        values = ops.reshape(ops.concat([left[i], right[i]]), (2, c, 1, k * k))
        if len(runs[i]) > 1:
            values = values * _own_shift(runs[i], values.dtype)
        values = ops.reshape(values, (2 * c, -1))
        placed = ops.MatMul()(values, _placement(runs[i], (k, k), (size, size), values.dtype))
        parts.append(ops.reshape(placed, (2, c, size, size)))
    return parts[0] if len(parts) == 1 else ops.concat(parts, 1)


# Constants of the graph. Cells of one shape share them, and so does the memory of the device.
@ops.constexpr
@functools.cache
def _own_shift(runs, dtype) -> Tensor:
    """(C_g, shifts, 1): 1 where the channel has the shift."""
    own = np.zeros((runs[-1][1], len(runs), 1), np.float32)
    for i, (first, last, _) in enumerate(runs):
        own[first:last, i] = 1
    return Tensor(own, dtype)


@ops.constexpr
@functools.cache
def _placement(runs, block, window, dtype) -> Tensor:
    """(shifts * r * q, rows * cols): 1 where a value of the block (row) stands in the matrix of that shift (column)."""
    r, q = block
    values = np.eye(r * q, dtype=np.float32).reshape(r * q, r, q)
    one_shift = [assemble_constants([values], [[(0, r * q, s)]], *window) for _, _, s in runs]
    return Tensor(np.concatenate(one_shift).reshape(-1, window[0] * window[1]), dtype)


def assemble_constants(blocks: Sequence[np.ndarray], runs, rows: int, cols: int) -> np.ndarray:
    """What `assemble` gives, of NumPy blocks: for graphs whose matrices no longer change."""
    i, j = np.arange(rows)[:, None], np.arange(cols)
    parts = []
    for of_group, group_runs in zip(blocks, runs):
        r, q = of_group.shape[1:]
        for first, last, s in group_runs:
            same_block = (i - s) // r == (j - s) // q
            parts.append(np.where(same_block, of_group[first:last, (i - s) % r, (j - s) % q], 0))
    return np.concatenate(parts)
