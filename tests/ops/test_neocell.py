"""NeoCell against the outputs of the authors' code and against the float64 reference."""

import functools
import json

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor

from neonext_ms.errors import UserError
from neonext_ms.ops import Group, NeoCell, output_size, parse_spec, reference
from tests.support.gradients import ForwardAndGradients, assert_as_near
from tests.support.paths import FIXTURES

FIXTURE = np.load(FIXTURES / "neocell_official.npz")
BACKENDS = ["dense", "patchwise", "fused"]
CASES = sorted({key.split("/")[0] for key in FIXTURE})


def results(cell, x, dy):
    """NumPy y, dx, dleft..., dright... and dbias, if there is a bias, of a cell."""
    y, dx, gradients = ForwardAndGradients(cell)(Tensor(x), Tensor(dy))
    return [value.asnumpy() for value in (y, dx, *gradients)]


def set_blocks(cell, left, right):
    for parameter, value in zip([*cell.left, *cell.right], [*left, *right]):
        parameter.set_data(Tensor(np.asarray(value, np.float32)))


def expected(x, blocks, groups, dy, dtype):
    """Of y, dx, dleft..., dright..., dbias: the naive form in dtype, float64, and float64 of absolute values.

    blocks: left, right and bias.
    """

    def all_of(x, blocks, dy, dtype):
        left, right, bias = blocks
        dx, dleft, dright, dbias = reference.neocell_gradients(x, left, right, groups, dy, dtype)
        return [reference.neocell(x, left, right, groups, bias, dtype), dx, *dleft, *dright, dbias]

    left, right, bias = blocks
    sizes = [np.abs(v) for v in left], [np.abs(v) for v in right], np.abs(bias)
    naive, exact = (all_of(x, blocks, dy, precision) for precision in (dtype, np.float64))
    return list(zip(naive, exact, all_of(np.abs(x), sizes, np.abs(dy), np.float64), strict=True))


@functools.cache
def official(case):
    """One of the authors' cases: groups, blocks, all arrays, its results and what measures results."""
    data = {key.split("/")[1]: FIXTURE[key] for key in FIXTURE if key.startswith(case + "/")}
    groups = [Group.from_dict(fields) for fields in json.loads(str(data["specs"]))]
    left, right, theirs_left, theirs_right = (
        [data[f"{name}.{i}"] for i in range(len(groups))] for name in ("weight_a", "weight_b", "grad_a", "grad_b")
    )
    measures = expected(data["x"], (left, right, np.zeros(data["x"].shape[1])), groups, data["dy"], np.float32)
    return groups, left, right, data, [data["y"], data["dx"], *theirs_left, *theirs_right], measures[:-1]


@pytest.mark.parametrize("case", CASES)
def test_the_reference_is_the_authors_function(case):
    *_, theirs, measures = official(case)
    for value, measure in zip(theirs, measures, strict=True):
        assert_as_near(value, *measure)


# Graphs take a second each to compile: of every case that of one backend. test_odd_sizes_in_graph_mode has more.
OFFICIAL = [(case, backend, "pynative") for case in CASES for backend in BACKENDS]
OFFICIAL += [(case, BACKENDS[i % 3], "graph") for i, case in enumerate(CASES)]


@pytest.mark.parametrize("case, backend, mode", OFFICIAL, indirect=["mode"])
def test_official_outputs_and_gradients(case, backend, mode):
    groups, left, right, data, theirs, measures = official(case)
    cell = NeoCell(groups, backend=backend)
    set_blocks(cell, left, right)
    for value, lower, measure in zip(results(cell, data["x"], data["dy"]), theirs, measures, strict=True):
        assert_as_near(value, lower, *measure[1:])


@st.composite
def squares(draw, channels):
    kernels = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    return Group(channels, *((k, k) for k in kernels), tuple(draw(st.integers(0, k - 1)) for k in kernels))


@st.composite
def cases(draw):
    """(groups, has_bias, N, H, W): square groups of several sizes and shifts, or one rectangular group."""
    counts = draw(st.lists(st.integers(1, 12), min_size=1, max_size=3))
    groups = [draw(squares(count)) for count in counts]
    if draw(st.booleans()):
        sides = draw(st.tuples(*[st.integers(1, 9)] * 4))
        groups = [Group(counts[0], sides[:2], sides[2:])]
    left, right = groups[0].left, groups[0].right
    # The smallest planes with an output, up to 40.
    h = draw(st.integers(-(-left[1] // left[0]), 40))
    w = draw(st.integers(-(-right[0] // right[1]), 40))
    return groups, draw(st.booleans()), draw(st.integers(1, 3)), h, w


def check_against_reference(case, backend, dtype=np.float32):
    """Forward and every gradient of a randomly initialised cell."""
    groups, has_bias, n, h, w = case
    rng = np.random.default_rng([n, h, w])
    cell = NeoCell(groups, has_bias=has_bias, backend=backend, seed=rng)
    if has_bias:
        cell.bias.set_data(Tensor(rng.standard_normal(cell.channels).astype(np.float32)))
    x = rng.standard_normal((n, cell.channels, h, w)).astype(dtype)
    left, right = [p.asnumpy() for p in cell.left], [p.asnumpy() for p in cell.right]
    bias = cell.bias.asnumpy() if has_bias else np.zeros(cell.channels)
    dy = rng.standard_normal((n, cell.channels, *output_size(groups, h, w))).astype(dtype)
    measures = expected(x, (left, right, bias), groups, dy, dtype)
    actual = results(cell, x, dy)
    assert actual[0].dtype == actual[1].dtype == dtype
    for value, measure in zip(actual, measures if has_bias else measures[:-1], strict=True):
        assert_as_near(value, *measure)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(case=cases())
def test_any_cell_equals_the_reference(backend, case):
    ms.set_context(mode=ms.PYNATIVE_MODE)
    check_against_reference(case, backend)


ODD = [
    (parse_spec("4+7", 23, 1), True, 2, 14, 14),
    (parse_spec("7", 9, 1), False, 1, 17, 12),
    (parse_spec("3+4+7", 16, 2), False, 2, 7, 24),
    ([Group.square(7, 1, 1)], True, 2, 56, 5),
    ([Group.resample(2, 1, 5)], True, 2, 24, 17),
    ([Group(3, (2, 3), (5, 4))], False, 2, 14, 17),
    ([Group(2, (1, 1), (1, 3))], False, 2, 1, 1),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", ODD, ids=range(len(ODD)))
def test_odd_sizes_in_graph_mode(case, backend):
    ms.set_context(mode=ms.GRAPH_MODE)
    check_against_reference(case, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_float16_input_gives_float16(backend, mode):
    check_against_reference((parse_spec("4+7", 22, 1), True, 2, 14, 17), backend, np.float16)


@pytest.mark.parametrize("backend", BACKENDS)
def test_small_integers_are_exact(backend):
    ms.set_context(mode=ms.PYNATIVE_MODE)
    rng = np.random.default_rng(0)
    groups = [Group(6, (4, 4), (3, 3), (1, 2)), Group.square(7, 8, 1)]
    left = [rng.integers(-4, 5, (g.channels, *g.left)) for g in groups]
    right = [rng.integers(-4, 5, (g.channels, *g.right)) for g in groups]
    cell = NeoCell(groups, backend=backend)
    set_blocks(cell, left, right)
    x = rng.integers(-4, 5, (2, 14, 17, 12)).astype(np.float32)
    np.testing.assert_array_equal(cell(Tensor(x)).asnumpy(), reference.neocell(x, left, right, groups))


def test_parameters_are_named_by_side_and_group():
    cell = NeoCell(parse_spec("4+7", 9, 1), has_bias=True)
    shapes = {p.name: p.shape for p in cell.get_parameters()}
    assert shapes == {
        "left.0": (4, 4, 4),
        "left.1": (5, 7, 7),
        "right.0": (4, 4, 4),
        "right.1": (5, 7, 7),
        "bias": (9,),
    }


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: NeoCell([]), ["list of Groups"]),
        (lambda: NeoCell("4+7"), ["list of Groups"]),
        (lambda: NeoCell(parse_spec("4", 8), backend="fast"), ["'fast'", "dense"]),
        (lambda: NeoCell(parse_spec("4", 8), init="zero"), ["'zero'", "normal"]),
        (lambda: NeoCell([Group.square(4, 3), Group.resample(2, 1, 3)]), ["agree"]),
        (lambda: NeoCell(parse_spec("4", 8))(Tensor(np.ones((1, 6, 8, 8), np.float32))), ["8 channels", "has 6"]),
        (lambda: NeoCell(parse_spec("4", 8))(Tensor(np.ones((8, 8, 8), np.float32))), ["(N, C, H, W)", "(8, 8, 8)"]),
        (lambda: NeoCell([Group.resample(2, 1, 3)])(Tensor(np.ones((1, 3, 1, 8), np.float32))), ["1 x 8", "0 x 4"]),
    ],
)
def test_mistakes_are_named_in_one_line(make, words, mode):
    with pytest.raises(UserError) as error:
        make()
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
