"""NeoCell against the outputs of the authors' code and against the float64 reference."""

import json

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor, nn, ops

from neonext_ms.errors import UserError
from neonext_ms.ops import Group, NeoCell, parse_spec, reference
from tests.support.paths import FIXTURES

FIXTURE = np.load(FIXTURES / "neocell_official.npz")
CASES = sorted({key.split("/")[0] for key in FIXTURE})
MODES = {"graph": ms.GRAPH_MODE, "pynative": ms.PYNATIVE_MODE}


class ForwardAndGradients(nn.Cell):
    """(y, dx, parameter gradients) of a cell for a given dy."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell
        weights = ms.ParameterTuple(cell.trainable_params())
        self.gradient = ops.value_and_grad(self.weighted, 0, weights, has_aux=True)

    def weighted(self, x, dy):
        """A sum whose gradient by y is dy, and y."""
        y = self.cell(x)
        return ops.sum(y * dy), y

    def construct(self, x, dy):
        (_, y), (dx, gradients) = self.gradient(x, dy)
        return y, dx, gradients


def forward_and_gradients(cell, x, dy):
    """NumPy y, dx, [dleft...], [dright...], and dbias (or None) of a cell."""
    y, dx, grads = ForwardAndGradients(cell)(Tensor(x), Tensor(dy))
    grads = [g.asnumpy() for g in grads]
    count = len(cell.groups)
    bias = grads[2 * count] if cell.bias is not None else None
    return y.asnumpy(), dx.asnumpy(), grads[:count], grads[count : 2 * count], bias


def set_blocks(cell, left, right):
    for parameter, value in zip([*cell.left, *cell.right], [*left, *right]):
        parameter.set_data(Tensor(np.asarray(value, np.float32)))


def assert_close(actual, expected, relative):
    """Maximum difference at most relative x the largest expected value."""
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= relative * max(np.abs(expected).max(), 1e-30)


@pytest.fixture(params=MODES)
def mode(request):
    ms.set_context(mode=MODES[request.param])
    yield request.param
    ms.set_context(mode=ms.GRAPH_MODE)


@pytest.mark.parametrize("backend", ["dense", "patchwise", "fused"])
@pytest.mark.parametrize("case", CASES)
def test_official_outputs_and_gradients(case, backend, mode):
    data = {key.split("/")[1]: FIXTURE[key] for key in FIXTURE if key.startswith(case + "/")}
    groups = [Group.from_dict(fields) for fields in json.loads(str(data["specs"]))]
    cell = NeoCell(groups, backend=backend)
    count = range(len(groups))
    set_blocks(cell, [data[f"weight_a.{i}"] for i in count], [data[f"weight_b.{i}"] for i in count])
    y, dx, dleft, dright, _ = forward_and_gradients(cell, data["x"], data["dy"])
    assert_close(y, data["y"], 1e-5)
    assert_close(dx, data["dx"], 1e-5)
    for i in count:
        assert_close(dleft[i], data[f"grad_a.{i}"], 1e-5)
        assert_close(dright[i], data[f"grad_b.{i}"], 1e-5)


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


def check_against_reference(groups, has_bias, n, h, w, backend, relative=1e-5, dtype=np.float32):
    """Forward and every gradient of a randomly initialised cell."""
    rng = np.random.default_rng([n, h, w])
    cell = NeoCell(groups, has_bias=has_bias, backend=backend, seed=rng)
    if has_bias:
        cell.bias.set_data(Tensor(rng.standard_normal(cell.channels).astype(np.float32)))
    x = rng.standard_normal((n, cell.channels, h, w)).astype(dtype)
    left = [p.asnumpy().astype(np.float64) for p in cell.left]
    right = [p.asnumpy().astype(np.float64) for p in cell.right]
    y = reference.neocell(x, left, right, groups, cell.bias.asnumpy() if has_bias else None)
    dy = rng.standard_normal(y.shape).astype(dtype)
    expected = (y, *reference.neocell_gradients(x, left, right, groups, dy))
    actual = forward_and_gradients(cell, x, dy)
    assert actual[0].dtype == dtype
    assert_close(actual[0], expected[0], relative)
    assert_close(actual[1], expected[1], relative)
    for i in range(len(groups)):
        assert_close(actual[2][i], expected[2][i], relative)
        assert_close(actual[3][i], expected[3][i], relative)
    if has_bias:
        assert_close(actual[4], expected[4], relative)


@pytest.mark.parametrize("backend", ["dense", "patchwise", "fused"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(case=cases())
def test_any_cell_equals_the_reference(backend, case):
    # One operation after the other: shapes that are new every time take MindSpore's queues much longer. The other tests
    # run with the queues.
    ms.set_context(mode=ms.PYNATIVE_MODE, pynative_synchronize=True)
    try:
        check_against_reference(*case, backend)
    finally:
        ms.set_context(pynative_synchronize=False)


ODD = [
    (parse_spec("4+7", 23, 1), True, 2, 14, 14),
    (parse_spec("7", 9, 1), False, 1, 17, 12),
    (parse_spec("3+4+7", 16, 2), False, 2, 7, 24),
    ([Group.square(7, 1, 1)], True, 2, 56, 5),
    ([Group.resample(2, 1, 5)], True, 2, 24, 17),
    ([Group(3, (2, 3), (5, 4))], False, 2, 14, 17),
    ([Group(2, (1, 1), (1, 3))], False, 2, 1, 1),
]


@pytest.mark.parametrize("backend", ["dense", "patchwise", "fused"])
@pytest.mark.parametrize("case", ODD, ids=range(len(ODD)))
def test_odd_sizes_in_graph_mode(case, backend):
    ms.set_context(mode=ms.GRAPH_MODE)
    check_against_reference(*case, backend)


@pytest.mark.parametrize("backend", ["dense", "patchwise", "fused"])
def test_float16_input_gives_float16(backend, mode):
    # Sums of a few products: a few roundings of 2^-11 each on the way.
    check_against_reference(parse_spec("4+7", 22, 1), True, 2, 14, 17, backend, relative=4 * 2.0**-10, dtype=np.float16)


@pytest.mark.parametrize("backend", ["dense", "patchwise", "fused"])
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
        (lambda: NeoCell([Group.resample(2, 1, 3)])(Tensor(np.ones((1, 3, 1, 8), np.float32))), ["1 x 8", "0 x 4"]),
    ],
)
def test_mistakes_are_named_in_one_line(make, words, mode):
    with pytest.raises(UserError) as error:
        make()
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
