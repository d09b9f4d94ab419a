"""The float64 reference against finite differences and hand-written matrices: it is what all else is tested against."""

import numpy as np

from neonext_ms.ops import Group
from neonext_ms.ops.reference import block_diagonal, fold_block_gradient, neocell, neocell_gradients


def test_windows_by_hand():
    block = np.array([[1, 2], [3, 4]])
    np.testing.assert_array_equal(block_diagonal(block, 3, 3), [[1, 2, 0], [3, 4, 0], [0, 0, 1]])
    np.testing.assert_array_equal(block_diagonal(block, 3, 3, 1), [[4, 0, 0], [0, 1, 2], [0, 3, 4]])
    np.testing.assert_array_equal(block_diagonal(np.array([[5, 6]]), 2, 5), [[5, 6, 0, 0, 0], [0, 0, 5, 6, 0]])


def test_folding_is_the_adjoint_of_repeating():
    rng = np.random.default_rng(0)
    for r, q, rows, cols, s in [(3, 3, 8, 8, 2), (2, 3, 6, 10, 0), (3, 1, 7, 3, 0), (7, 7, 5, 5, 3)]:
        block, window = rng.standard_normal((r, q)), rng.standard_normal((rows, cols))
        lhs = (block_diagonal(block, rows, cols, s) * window).sum()
        assert np.isclose(lhs, (block * fold_block_gradient(window, r, q, s)).sum(), rtol=1e-12)


def test_gradients_by_finite_differences():
    rng = np.random.default_rng(1)
    groups = [Group(3, (4, 4), (3, 3), (1, 2)), Group(2, (3, 3), (4, 4), (0, 1))]
    x = rng.standard_normal((2, 5, 7, 6))
    left = [rng.standard_normal((g.channels, *g.left)) for g in groups]
    right = [rng.standard_normal((g.channels, *g.right)) for g in groups]
    bias, dy = rng.standard_normal(5), rng.standard_normal((2, 5, 7, 6))
    dx, dleft, dright, dbias = neocell_gradients(x, left, right, groups, dy)
    pairs = [(x, dx), (bias, dbias), *zip(left, dleft), *zip(right, dright)]
    for values, gradient in pairs:
        direction = rng.standard_normal(values.shape)
        values += 1e-4 * direction
        above = (neocell(x, left, right, groups, bias) * dy).sum()
        values -= 2e-4 * direction
        below = (neocell(x, left, right, groups, bias) * dy).sum()
        values += 1e-4 * direction
        assert np.isclose((above - below) / 2e-4, (gradient * direction).sum(), rtol=1e-6)
