"""Blocks as functions: what resampling keeps, and what it converges to."""

import numpy as np
import pytest

from neonext_ms.errors import UserError
from neonext_ms.ops import Group, reference
from neonext_ms.ops.init import averaging_identity
from neonext_ms.ops.resample import interpolation, resample_left, resample_right, resampled_group


def centres(k):
    return (np.arange(k) + 0.5) / k


def test_interpolation_by_hand():
    np.testing.assert_array_equal(interpolation(1, 3), [[1], [1], [1]])
    np.testing.assert_array_equal(interpolation(2, 1), [[0.5, 0.5]])
    # Centres 1/8, 3/8, 5/8, 7/8 between and beyond 1/4 and 3/4: a straight line through both.
    np.testing.assert_array_equal(interpolation(2, 4), [[1.25, -0.25], [0.75, 0.25], [0.25, 0.75], [-0.25, 1.25]])
    np.testing.assert_array_equal(interpolation(4, 2), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])


@pytest.mark.parametrize("size_in, size_out", [(2, 7), (7, 12), (7, 14), (12, 7), (7, 7), (4, 3), (5, 1)])
def test_interpolation_is_exact_for_straight_lines(size_in, size_out):
    matrix = interpolation(size_in, size_out)
    np.testing.assert_allclose(matrix @ (3 - 2 * centres(size_in)), 3 - 2 * centres(size_out), atol=1e-14)
    assert ((matrix != 0).sum(1) <= 2).all()


SHAPES = [(7, 7), (1, 2), (2, 1), (3, 5)]


@pytest.mark.parametrize("resample", [resample_left, resample_right])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_size_is_the_same_block(resample, shape):
    blocks = np.random.default_rng(0).standard_normal((5, *shape)).astype(np.float32)
    np.testing.assert_array_equal(resample(blocks, *shape), blocks)


@pytest.mark.parametrize("resample", [resample_left, resample_right])
@pytest.mark.parametrize("shape, other", [((7, 7), (12, 12)), ((7, 7), (4, 4)), ((1, 2), (2, 4)), ((2, 3), (4, 6))])
def test_the_averaging_identity_stays_one(resample, shape, other):
    blocks = np.stack([averaging_identity(*shape)] * 2)
    np.testing.assert_allclose(resample(blocks, *other), np.stack([averaging_identity(*other)] * 2), atol=1e-15)


def test_a_block_by_hand():
    """K is constant, 0.3: its integral over the block is 0.3 k, of any size."""
    left = resample_left(np.eye(4)[None] + 0.3, 6, 6)
    np.testing.assert_allclose(left, np.eye(6)[None] + 0.2, atol=1e-15)
    # Left blocks sum over columns, right ones over rows: (h_out, h_in) = (1, 2) to (2, 4), and the transpose.
    rectangle = np.array([[[0.5 + 0.1, 0.5 + 0.1]]])
    expected = np.array([[[0.55, 0.55, 0.05, 0.05], [0.05, 0.05, 0.55, 0.55]]])
    np.testing.assert_allclose(resample_left(rectangle, 2, 4), expected, atol=1e-15)
    np.testing.assert_allclose(resample_right(rectangle.swapaxes(1, 2), 4, 2), expected.swapaxes(1, 2), atol=1e-15)


def kappa(s, t):
    """A smooth kernel over the unit square, without symmetry."""
    return np.exp(-3 * (s - t) ** 2) * np.cos(2 * s + t)


def integral_operator(f, s):
    """f(s) + integral of kappa(s, t) f(t) over t, by Gauss's quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    t = (nodes + 1) / 2
    return f(s) + (kappa(s[:, None], t) * f(t)) @ weights / 2


def test_it_converges_to_the_integral_operator_on_smooth_planes():
    """A block sampled at k, resampled to 3 k / 2 and applied to a plane of that size: errors fall as 1 / k^2."""

    def f(t):
        return np.sin(4 * t) + t**2

    errors = []
    for k in (16, 32, 64):
        block = np.eye(k) + kappa(centres(k)[:, None], centres(k)) / k
        m = 3 * k // 2
        left, right = resample_left(block[None], m, m), resample_right(block.T[None], m, m)
        plane = np.outer(f(centres(m)), f(centres(m)))[None, None]
        y = reference.neocell(plane, [left], [right], [Group.square(m, 1)])
        exact = integral_operator(f, centres(m))
        errors.append(np.abs(y[0, 0] - np.outer(exact, exact)).max())
    assert errors[0] < 0.01
    assert all(3.5 < coarse / fine < 4.6 for coarse, fine in zip(errors, errors[1:])), errors


def test_groups_keep_their_share_of_a_shift():
    assert resampled_group(Group.square(7, 48, 0), 12) == Group.square(12, 48, 0)
    assert resampled_group(Group.square(7, 48, 1), 14) == Group.square(14, 48, 2)
    assert resampled_group(Group.square(4, 3, 2), 6) == Group.square(6, 3, 3)
    assert resampled_group(Group.square(4, 9, 2), 2) == Group.square(2, 9, 1)
    assert resampled_group(Group.square(7, 48, 1), 7) == Group.square(7, 48, 1)


@pytest.mark.parametrize(
    "group, k, words",
    [
        (Group.square(7, 48, 1), 12, ["7 x 7", "shift of 1", "12 x 12", "multiple of 7"]),
        (Group.square(4, 9, 3), 2, ["multiple of 4"]),
        (Group.resample(2, 1, 3), 4, ["square", "4 x 4"]),
        (Group(3, (4, 4), (4, 4), (1, 0)), 8, ["8 x 8"]),
    ],
)
def test_what_cannot_be_kept_is_refused_in_one_line(group, k, words):
    with pytest.raises(UserError) as error:
        resampled_group(group, k)
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words), str(error.value)
