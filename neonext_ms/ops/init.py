"""Initial values of NeoCell blocks, as NumPy arrays (paper, section 3.7 and the ablation of section 4.2)."""

import numpy as np


def averaging_identity(rows: int, cols: int) -> np.ndarray:
    """The "skewed identity" of NeoInit: pooling over the area that input and output cells share.

    Down-sampling: every output is the average of the inputs under it. Up-sampling: every input is spread over the
    outputs above it, with weights that sum to 1. Square: the identity. Cells are shared in proportion to their
    overlap, so fractional ratios work too; for an integer ratio r every weight is 1/r.

    Args:
        rows, cols: shape of the block; the matrix and its transpose are used alike on the left and the right.

    Returns:
        (rows, cols) float64; rows sum to 1 when rows <= cols, columns when rows >= cols.
    """
    edges = np.arange(rows + 1) * cols, np.arange(cols + 1) * rows  # both in units of 1 / (rows * cols)
    low = np.maximum(edges[0][:-1, None], edges[1][None, :-1])
    high = np.minimum(edges[0][1:, None], edges[1][None, 1:])
    return np.maximum(high - low, 0) / max(rows, cols)


def neo_init(channels: int, rows: int, cols: int, rng: np.random.Generator, noise: float = 1.0) -> np.ndarray:
    """NeoInit: the averaging identity plus Gaussian noise of standard deviation noise / sqrt(rows * cols).

    Returns:
        (channels, rows, cols) float32.
    """
    scale = noise / np.sqrt(rows * cols)
    return (averaging_identity(rows, cols) + scale * rng.standard_normal((channels, rows, cols))).astype(np.float32)


def normal_init(channels: int, rows: int, cols: int, rng: np.random.Generator, outputs: int) -> np.ndarray:
    """The ablation's baseline: no identity, N(0, 1 / outputs) with outputs = h_out on the left, w_out on the right.

    Returns:
        (channels, rows, cols) float32.
    """
    return (rng.standard_normal((channels, rows, cols)) / np.sqrt(outputs)).astype(np.float32)
