"""Forward and every gradient of a layer, and how near they have to be to float64."""

import mindspore as ms
import numpy as np
from mindspore import nn


class ForwardAndGradients(nn.Cell):
    """(y, dx, gradients of the trainable parameters) of a cell for a given dy."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell
        self.weights = ms.ParameterTuple(cell.trainable_params())

    def construct(self, x, dy):
        y, backward = ms.vjp(self.cell, x, weights=self.weights)
        (dx,), gradients = backward(dy)
        return y, dx, gradients


def assert_as_near(actual, naive, exact, size=None):
    """`actual` is as near to float64 as the naive form of the same precision: at most twice its largest error.

    Two roundings of what is added up are always allowed, as the naive form may happen to have none.

    Args:
        actual, naive, exact: arrays of one shape; exact is float64, the type of naive is the precision.
        size: sums of the absolute values of what exact is the sum of; exact itself where nothing cancels.
    """
    assert actual.shape == exact.shape
    error, allowed = np.abs(actual - exact).max(), np.abs(naive.astype(np.float64) - exact).max()
    rounding = np.finfo(naive.dtype).eps * np.abs(exact if size is None else size).max()
    assert error <= 2 * allowed + 2 * rounding, (error, allowed, rounding)
