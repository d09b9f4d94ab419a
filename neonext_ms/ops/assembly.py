"""Block-diagonal matrices from small blocks, as differentiable tensor operations (paper, section 3.4)."""

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
