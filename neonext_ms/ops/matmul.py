"""Broadcasting matrix product."""

from mindspore import Tensor, ops


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a @ b over the last two axes; the axes before them have the same number and broadcast.

    MindSpore's own matmul has a wrong gradient when ranks differ by two or when the contracted axis has length 1, so
    ranks are kept equal here and an outer product is written as what it is, an element-wise multiplication.
    """
    if a.shape[-1] == 1:
        return ops.mul(a, b)
    return ops.matmul(a, b)
