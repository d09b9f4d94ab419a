"""NeoCell as two broadcasting matmuls with block-diagonal matrices (paper, section 3.4).

Portable and exportable: nothing but multiplications, reshapes, slices and matmuls. The matrix unit of an NPU does the
zeros of A and B for less than it would take to move the blocks about.
"""

from mindspore import Tensor, ops

from neonext_ms.ops.assembly import assemble
from neonext_ms.ops.matmul import matmul


def dense_neocell(x: Tensor, left, right, left_runs, right_runs, h_out: int, w_out: int) -> Tensor:
    """Y = A @ X @ B.

    Args:
        x: (N, C, H, W).
        left, right: per group the blocks (C_g, h_out, h_in) and (C_g, w_in, w_out) of one float type with x.
        left_runs, right_runs: per group its channel runs (first, last + 1, shift).
        h_out, w_out: H', W'.

    Returns:
        (N, C, H', W').
    """
    h, w = x.shape[2:]
    a = ops.expand_dims(assemble(left, left_runs, h_out, h), 0)
    b = ops.expand_dims(assemble(right, right_runs, w, w_out), 0)
    return matmul(matmul(a, x), b)
