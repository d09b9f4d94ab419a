"""Block-diagonal matrices from small blocks (paper, section 3.4), in a graph with gradients or as constants."""

from collections.abc import Sequence

import numpy as np
from mindspore import Tensor, ops


def block_diagonal(blocks: Tensor, rows: int, cols: int, shift: int = 0) -> Tensor:
    """Window of the infinite block-diagonal matrix of every channel, with one block corner at (shift, shift).

    One multiplication by the identity of the block grid tiles the blocks and masks the copies off the diagonal; the
    window is a slice of the result. There is no gather or scatter, which NPUs do slowly, and the gradient is the sum
    over the copies. The constant is one small identity, whatever the number of channels.

    Args:
        blocks: (C, r, q), any float type.
        rows, cols: size of the window.
        shift: s in 0..r-1; needs square blocks when it is not 0.

    Returns:
        (C, rows, cols), type of blocks.
    """
    c, r, q = blocks.shape
    top = (r - shift) % r
    count = max(-(-(rows + top) // r), -(-(cols + top) // q))
    grid = Tensor(np.eye(count, dtype=np.float32).reshape(1, count, 1, count, 1))
    tiled = ops.mul(ops.reshape(blocks, (c, 1, r, 1, q)), grid.astype(blocks.dtype))
    tiled = ops.reshape(tiled, (c, count * r, count * q))
    return tiled[:, top : top + rows, top : top + cols]


def assemble(blocks, runs, rows: int, cols: int) -> Tensor:
    """The matrices of all channels of a cell.

    Args:
        blocks: per group (C_g, r, q), of one float type.
        runs: per group its channel runs (first, last + 1, shift).
        rows, cols: size of the matrices.

    Returns:
        (C, rows, cols), type of the blocks.
    """
    parts = []
    for i in range(len(runs)):
        for first, last, shift in runs[i]:
            parts.append(block_diagonal(blocks[i][first:last], rows, cols, shift))
    return parts[0] if len(parts) == 1 else ops.concat(parts, 0)


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
