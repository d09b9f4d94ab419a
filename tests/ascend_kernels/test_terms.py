"""The kernel for several terms: against float64, on any number of cores, and as NeoCell where there is one term."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ascend_kernels import emulated, terms
from tests.ascend_kernels.emulated import LIMITS, worst_error

OPERATOR = "neo_cell_terms"
SHAPES = [  # one fractal and several, partial tiles, fewer groups than cores, rectangles
    (9, 26, 14, 14, 14, 14, 2, 1),
    (21, 5, 7, 7, 7, 7, 4, 1),
    (3, 24, 28, 28, 28, 28, 1, 4),
    (5, 12, 17, 23, 9, 40, 2, 3),
    (2, 4, 56, 56, 28, 28, 3, 1),
    (7, 4, 12, 12, 12, 12, 1, 4),
    (3, 50, 14, 14, 14, 14, 1, 1),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype, integers", [("float16", False), ("bfloat16", False), ("float16", True)])
def test_equals_float64_on_any_number_of_cores(emulator, shape, dtype, integers):
    tensors = terms.draw(shape, dtype, integers=integers)
    expected, first = terms.golden(OPERATOR, tensors, dtype), None
    for cores in (1, 20, 24):
        values, report, (y,) = terms.solve(emulator, OPERATOR, dtype, shape, cores, tensors)
        assert (report["refusal"], report["violations"], report["races"]) == ("", [], 0)
        if first is None:
            first = y
            assert worst_error(values, expected) <= (0 if integers else LIMITS[dtype])
        assert np.array_equal(y, first)


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("side", [7, 14, 40])
def test_what_is_zero_adds_nothing_to_neo_cell(emulator, side, rank):
    shape = (5, 6, side, side, side, side)
    tensors = terms.draw((*shape, rank, 1), "float16")
    tensors["a"][1:] = 0
    _, _, (y,) = terms.solve(emulator, OPERATOR, "float16", (*shape, rank, 1), 2, tensors)
    first = {"x": tensors["x"], "a": tensors["a"][0, 0].copy(), "b": tensors["b"][0, 0].copy()}
    _, _, (expected,) = emulated.solve(emulator, "neo_cell", "float16", shape, 2, first)
    assert np.array_equal(y, expected)


def test_x_is_read_once_and_y_written_once(emulator):
    """Whatever the number of terms: only their matrices are more."""
    plane = 28 * 28 * 2
    # A core of 24 has 64 images of 2 channels, or 32 of a group of 4; so many matrices on each side.
    for rank, width, matrices in ((1, 1, 2), (4, 1, 8), (1, 4, 16)):
        core = emulator.report(OPERATOR, "float16", (64, 48, 28, 28, 28, 28, rank, width), 24)["core"]
        assert core["gm_written"] == 128 * plane
        assert core["gm_read"] == 128 * plane + 2 * matrices * plane


@pytest.mark.parametrize(
    "shape, reason",
    [
        ((1, 6, 14, 14, 14, 14, 1, 4), "whole groups"),
        ((1, 6, 14, 14, 14, 14, 0, 1), "whole groups"),
        ((1, 6, 14, 1, 14, 14, 2, 1), "one pixel wide"),
        ((1, 8, 128, 128, 128, 128, 8, 1), "do not fit L1"),
        ((1, 8, 56, 56, 56, 56, 1, 8), "half of L0A"),
        ((1, 8, 14, 14, 14, 14, 70000, 1), "do not fit L1"),
    ],
)
def test_refusals_name_the_reason(emulator, shape, reason):
    assert reason in emulator.report(OPERATOR, "float16", shape, 24)["refusal"]


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 20),
    st.integers(1, 30),
    st.tuples(*[st.integers(1, 70)] * 4),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.sampled_from([1, 3, 24]),
)
def test_every_plan_is_refused_or_clean(emulator, images, groups, planes, of_terms, cores):
    shape = (images, groups * of_terms[1], *planes, *of_terms)
    report = emulator.report(OPERATOR, "float16", shape, cores)
    assert report["refusal"] or report["violation_count"] == 0, report["violations"]
