"""Multiply-accumulates of a NeoCell against counting them in the reference's matrices, and the paper's section 3.6."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neonext_ms.errors import UserError
from neonext_ms.ops import Group, output_size, parse_spec
from neonext_ms.ops.complexity import dense_macs, depthwise_macs, patchwise_macs
from neonext_ms.ops.reference import block_diagonal


def nonzero_macs(groups, h, w):
    """Multiplications of A @ X @ B that have no zero of A or B in them."""
    h_out, w_out = output_size(groups, h, w)
    count = 0
    for group in groups:
        a = block_diagonal(np.ones(group.left), h_out, h)
        b = block_diagonal(np.ones(group.right), w, w_out)
        count += group.channels * int(a.sum() * w + h_out * b.sum())
    return count


sides = st.integers(1, 9)
patches = st.integers(1, 5)


@given(st.lists(st.tuples(st.integers(1, 5), sides), min_size=1, max_size=3), st.integers(1, 3), st.integers(1, 3))
def test_square_blocks_that_divide_the_plane_cost_what_the_blocks_multiply(specs, rows, columns):
    groups = [Group.square(k, channels) for channels, k in specs]
    unit = int(np.lcm.reduce([k for _, k in specs]))
    h, w = unit * rows, unit * columns
    assert patchwise_macs(groups, h, w) == sum(2 * g.channels * g.left[0] * h * w for g in groups)
    if h * w <= 2500:  # the reference's matrices are built an element at a time
        assert patchwise_macs(groups, h, w) == nonzero_macs(groups, h, w)


@given(st.integers(1, 4), sides, sides, sides, sides, patches, patches)
def test_rectangular_blocks_cost_what_the_blocks_multiply(channels, h_out, h_in, w_in, w_out, rows, columns):
    groups = [Group(channels, (h_out, h_in), (w_in, w_out))]
    h, w = rows * h_in, columns * w_in
    assert patchwise_macs(groups, h, w) == nonzero_macs(groups, h, w)
    assert dense_macs(groups, h, w) == channels * (h_out * rows * h * w + h_out * rows * w * w_out * columns)


@given(st.integers(1, 4), sides, st.integers(1, 40), st.integers(1, 40), st.integers(0, 3))
def test_truncated_and_shifted_blocks_count_whole_blocks(channels, k, h, w, shift):
    groups = [Group.square(k, channels, min(shift, k - 1))]
    assert patchwise_macs(groups, h, w) == 2 * channels * k * h * w
    assert patchwise_macs(groups, h, w) >= nonzero_macs([Group.square(k, channels)], h, w)


@given(st.integers(1, 16), st.integers(1, 512), st.integers(1, 99), st.integers(1, 99), st.integers(1, 64))
def test_cheaper_than_a_depthwise_convolution_exactly_when_2k_is_less_than_its_kernels_area(kernel, c, h, w, k):
    """Equations 4 and 5: T(NeoCell) / T(depthwise) = 2 k / K^2."""
    neocell, depthwise = patchwise_macs([Group.square(k, c)], h, w), depthwise_macs(c, kernel, h, w)
    assert neocell * kernel**2 == depthwise * 2 * k
    assert (neocell < depthwise) == (2 * k < kernel**2)


@given(st.integers(1, 6), sides, st.integers(1, 40), st.integers(1, 40))
def test_dense_matmuls_cost_as_much_as_blocks_of_the_planes_size(channels, k, h, w):
    whole = [Group(channels, (h, h), (w, w))]
    groups = [Group.square(k, channels)]
    assert dense_macs(groups, h, w) == patchwise_macs(whole, h, w)
    assert (dense_macs(groups, h, w) > patchwise_macs(groups, h, w)) == (h + w > 2 * k)


def test_worked_examples():
    # "4+7" on 96 channels of 56 x 56: 48 channels with k = 4 and 48 with k = 7
    groups = parse_spec("4+7", 96, shift=1)
    assert patchwise_macs(groups, 56, 56) == 48 * (8 + 14) * 56 * 56
    assert dense_macs(groups, 56, 56) == 96 * 2 * 56**3
    assert depthwise_macs(96, 7, 56, 56) == 96 * 49 * 56 * 56
    # 2 -> 1 on 15 x 9: 7 x 9 values of 2 multiplications each between the products, 7 x 4 after them
    down = [Group.resample(2, 1, 3)]
    assert patchwise_macs(down, 15, 9) == 3 * (7 * 9 * 2 + 7 * 4 * 2)
    assert dense_macs(down, 15, 9) == 3 * (7 * 15 * 9 + 7 * 9 * 4)


@pytest.mark.parametrize("count", [patchwise_macs, dense_macs])
def test_an_empty_output_is_refused(count):
    with pytest.raises(UserError, match="empty output"):
        count([Group.resample(4, 1, 8)], 3, 8)
