"""Trained blocks as functions that are sampled anew: the same operator with another block size.

A block is A = E + K. E, the averaging identity that NeoInit starts from, exists for every size. K is taken as samples
of a smooth kernel over the block, which is the unit square: K[i, j] = kappa(s_i, t_j) / q at the centres of its r x q
cells, so that A x is x plus an integral over t. Another size samples the same kappa at other centres.
"""

import numpy as np

from neonext_ms.errors import UserError
from neonext_ms.ops.groups import Group
from neonext_ms.ops.init import averaging_identity


def interpolation(size_in: int, size_out: int) -> np.ndarray:
    """(size_out, size_in) matrix from values at the centres of size_in equal cells to those of size_out.

    Linear between the centres and in a straight line beyond the outermost: exact for linear functions. Rows sum to 1.
    """
    if size_in == 1:
        return np.ones((size_out, 1))
    position = (np.arange(size_out) + 0.5) * size_in / size_out - 0.5
    low = np.clip(np.floor(position).astype(int), 0, size_in - 2)
    matrix = np.zeros((size_out, size_in))
    matrix[np.arange(size_out), low] = 1 - (position - low)
    matrix[np.arange(size_out), low + 1] = position - low
    return matrix


def resample_left(blocks: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """Left blocks (C, h_out, h_in) of another size, (C, rows, cols) float64: E' + (h_in / cols) R K R'^T.

    R and R' are the `interpolation` of rows and columns. The same size gives the same values; a block without K stays
    without.
    """
    r, q = blocks.shape[1:]
    if (r, q) == (rows, cols):
        return blocks.astype(np.float64)
    kernel = blocks - averaging_identity(r, q)
    kernel = interpolation(r, rows) @ kernel @ interpolation(q, cols).T
    return averaging_identity(rows, cols) + q / cols * kernel


def resample_right(blocks: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """Right blocks (C, w_in, w_out) of another size; they sum over their rows as left ones do over their columns."""
    return resample_left(blocks.swapaxes(1, 2), cols, rows).swapaxes(1, 2)


def resampled_group(group: Group, k: int) -> Group:
    """A group of square blocks with k x k blocks in their place, shifted by the same share of a block.

    Raises:
        UserError: blocks that are not square, or a shift that k x k blocks cannot keep.
    """
    sizes = {*group.left, *group.right}
    if len(sizes) > 1 or group.shift[0] != group.shift[1]:
        raise UserError(
            f"only groups of equal square blocks on both sides can be resampled to {k} x {k}, got {group!r}"
        )
    (before,), step = sizes, group.shift[0]
    if (step * k) % before == 0:
        made = Group.square(k, group.channels, step * k // before)
        if [run[:2] for run in made.left_runs()] == [run[:2] for run in group.left_runs()]:
            return made
    raise UserError(
        f"{before} x {before} blocks with a shift of {step} cannot become {k} x {k} with the same shifts: use a "
        f"multiple of {before}"
    )
