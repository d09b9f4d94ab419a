"""NeoCell with several terms: against the float64 reference, what it contains, and how it starts."""

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor

from neonext_ms.errors import UserError
from neonext_ms.ops import Group, NeoCell, NeoCellTerms, output_size, parse_spec, reference
from tests.support.gradients import ForwardAndGradients, assert_as_near

BACKENDS = ["dense", "patchwise", "fused"]


def inputs_of(channels, rank, width):
    """(rank * width, channels): the input channel of every term, by the docstring's words."""
    first = np.arange(channels) // width * width
    return np.array([first + (np.arange(channels) - first + t) % width for t in range(rank * width)])


def by_terms(blocks, groups):
    """The parameters of one side, for every term a list."""
    return [blocks[i : i + len(groups)] for i in range(0, len(blocks), len(groups))]


def filled(cell, rng, draw):
    """All blocks of a cell drawn anew; the values of left and right, for every term a list."""
    for block in [*cell.left, *cell.right]:
        block.set_data(Tensor(draw(rng, block.shape).astype(np.float32)))
    return [by_terms([p.asnumpy() for p in blocks], cell.groups) for blocks in (cell.left, cell.right)]


def normal(rng, shape):
    return rng.standard_normal(shape)


def integers(rng, shape):
    return rng.integers(-3, 4, shape)


def all_of(left, right, groups, inputs, x, dy, dtype):
    """y, dx, gradients of all left blocks and of all right blocks."""
    dx, dleft, dright = reference.terms_gradients(x, left, right, groups, inputs, dy, dtype)
    return [reference.terms(x, left, right, groups, inputs, dtype), dx, *sum(dleft, []), *sum(dright, [])]


def check(case, backend, dtype=np.float32):
    groups, rank, width, n, h, w = case
    rng = np.random.default_rng([n, h, w, rank, width])
    cell = NeoCellTerms(groups, rank, width, has_bias=True, backend=backend)
    left, right = filled(cell, rng, normal)
    x = rng.standard_normal((n, cell.channels, h, w)).astype(dtype)
    dy = rng.standard_normal((n, cell.channels, *output_size(groups, h, w))).astype(dtype)
    rest = groups, inputs_of(cell.channels, rank, width)
    naive, exact = (all_of(left, right, *rest, x, dy, precision) for precision in (dtype, np.float64))
    positive = [[np.abs(block) for block in term] for term in left], [[np.abs(b) for b in term] for term in right]
    sizes = all_of(*positive, *rest, np.abs(x), np.abs(dy), np.float64)
    names = [p.name for p in cell.trainable_params()]
    y, dx, gradients = ForwardAndGradients(cell)(Tensor(x), Tensor(dy))
    assert y.asnumpy().dtype == dtype
    by_name = dict(zip(names, gradients, strict=True))
    dbias = by_name["bias"]
    gradients = [by_name[f"{side}.{i}"] for side in ("left", "right") for i in range(len(cell.left))]
    for value, *measure in zip((y, dx, *gradients), naive, exact, sizes, strict=True):
        assert_as_near(value.asnumpy(), *measure)
    total, size = dy.astype(np.float64).sum((0, 2, 3)), np.abs(dy).astype(np.float64).sum((0, 2, 3))
    assert_as_near(dbias.asnumpy(), dy.sum((0, 2, 3)), total, size)


CASES = {  # groups, rank, width, N, H, W
    "rank": (parse_spec("4+7", 10, 1), 2, 1, 2, 14, 17),
    "group": (parse_spec("3", 6, 2), 1, 3, 1, 7, 12),
    "both": ([Group(8, (4, 4), (3, 3), (1, 2))], 2, 4, 2, 9, 7),
    "down-sampling": ([Group.resample(2, 1, 4)], 3, 2, 2, 9, 8),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES)
def test_forward_and_gradients(case, backend):
    check(CASES[case], backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_float16_and_eagerly(backend):
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        check(CASES["rank"], backend, np.float16)
        check(CASES["both"], backend)
    finally:
        ms.set_context(mode=ms.GRAPH_MODE)


@st.composite
def cases(draw):
    """(groups, rank, width, N, H, W) of square groups with shifts, or of one rectangular group."""
    width = draw(st.integers(1, 3))
    if draw(st.booleans()):
        groups = [Group(width * draw(st.integers(1, 3)), *draw(st.tuples(*[st.tuples(*[st.integers(1, 5)] * 2)] * 2)))]
    else:
        kernels = draw(st.lists(st.integers(2, 7), min_size=1, max_size=2))
        channels = width * draw(st.integers(len(kernels), 4))
        groups = parse_spec("+".join(map(str, kernels)), channels, draw(st.integers(0, min(kernels) - 1)))
    left, right = groups[0].left, groups[0].right
    h, w = draw(st.integers(-(-left[1] // left[0]), 17)), draw(st.integers(-(-right[0] // right[1]), 17))
    return groups, draw(st.integers(1, 3)), width, draw(st.integers(1, 2)), h, w


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(case=cases())
def test_any_cell_equals_the_reference(backend, case):
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        check(case, backend)
    finally:
        ms.set_context(mode=ms.GRAPH_MODE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_small_integers_are_exact(backend):
    groups, rank, width, *shape = CASES["both"]
    rng = np.random.default_rng(0)
    cell = NeoCellTerms(groups, rank, width, backend=backend)
    left, right = filled(cell, rng, integers)
    x = rng.integers(-3, 4, (shape[0], 8, *shape[1:])).astype(np.float32)
    exact = reference.terms(x, left, right, groups, inputs_of(8, rank, width))
    np.testing.assert_array_equal(cell(Tensor(x)).asnumpy(), exact)


def test_the_channels_of_every_term_by_hand():
    assert inputs_of(4, 2, 2).tolist() == [[0, 1, 2, 3], [1, 0, 3, 2]] * 2
    assert inputs_of(6, 1, 3).tolist() == [[0, 1, 2, 3, 4, 5], [1, 2, 0, 4, 5, 3], [2, 0, 1, 5, 3, 4]]
    # One pixel: terms are products of numbers. y0 = 2*3*x0 + 5*7*x1 and y1 = 11*13*x1 + 17*19*x0.
    groups = [Group.square(1, 2)]
    left = [[np.array([2, 11]).reshape(2, 1, 1)], [np.array([5, 17]).reshape(2, 1, 1)]]
    right = [[np.array([3, 13]).reshape(2, 1, 1)], [np.array([7, 19]).reshape(2, 1, 1)]]
    x = np.array([100.0, 1.0]).reshape(1, 2, 1, 1)
    assert reference.terms(x, left, right, groups, inputs_of(2, 1, 2)).ravel().tolist() == [635, 32443]


def test_gradients_of_the_reference_are_finite_differences():
    rng = np.random.default_rng(1)
    groups = parse_spec("3", 4, 1)
    left, right = ([[rng.standard_normal((4, 3, 3))] for _ in range(4)] for _ in range(2))
    x, dy = rng.standard_normal((2, 2, 4, 5, 7))
    inputs = inputs_of(4, 2, 2)
    dx, dleft, dright = reference.terms_gradients(x, left, right, groups, inputs, dy)
    for values, gradient in [(x, dx), *zip(sum(left, []), sum(dleft, [])), *zip(sum(right, []), sum(dright, []))]:
        direction = rng.standard_normal(values.shape)
        values += 1e-4 * direction
        above = (reference.terms(x, left, right, groups, inputs) * dy).sum()
        values -= 2e-4 * direction
        below = (reference.terms(x, left, right, groups, inputs) * dy).sum()
        values += 1e-4 * direction
        assert np.isclose((above - below) / 2e-4, (gradient * direction).sum(), rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_term_is_the_papers_cell_bit_for_bit(backend, mode):
    rng = np.random.default_rng(3)
    x, dy = (Tensor(rng.standard_normal((2, 9, 14, 17)).astype(np.float32)) for _ in range(2))
    results = []
    for make in (NeoCell, NeoCellTerms):
        cell = make(parse_spec("4+7", 9, 1), has_bias=True, backend=backend, seed=0)
        names = [p.name for p in cell.trainable_params()]
        y, dx, gradients = ForwardAndGradients(cell)(x, dy)
        results.append((names, [value.asnumpy() for value in (y, dx, *gradients)]))
    (names, plain), (other_names, terms) = results
    assert names == other_names
    for value, other in zip(plain, terms, strict=True):
        np.testing.assert_array_equal(value, other)


@pytest.fixture
def eagerly():
    """Graphs of many terms take seconds to compile; that they are as good is tested with few."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=ms.GRAPH_MODE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_starts_as_that_of_the_papers_cell(backend, eagerly):
    groups = parse_spec("4+7", 8, 1)
    x = Tensor(np.random.default_rng(3).standard_normal((2, 8, 14, 17)).astype(np.float32))
    plain, terms = NeoCell(groups, backend=backend, seed=0), NeoCellTerms(groups, 2, 4, backend=backend, seed=0)
    assert [p.name for p in terms.left] == [f"left.{i}" for i in range(16)]
    for block, other in zip([*plain.left, *plain.right], [*terms.left[:2], *terms.right[:2]], strict=True):
        assert block.name == other.name
        np.testing.assert_array_equal(block.asnumpy(), other.asnumpy())
    y, _, gradients = ForwardAndGradients(terms)(x, x)
    of_left = [g for p, g in zip(terms.trainable_params(), gradients, strict=True) if "left." in p.name]
    assert len(of_left) == 16
    np.testing.assert_allclose(y.asnumpy(), plain(x).asnumpy(), rtol=0, atol=1e-6 if backend == "dense" else 0)
    assert all(np.abs(g.asnumpy()).min() > 0 for g in of_left), "every left block learns from the first step on"


def shift_matrix(size, offset):
    """(S x)[i] = x[i + offset], 0 outside."""
    return np.eye(size, k=offset)


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_a_depthwise_convolution_is_as_many_full_plane_terms_as_its_kernel_has_rows(kernel, eagerly):
    """K = sum of sigma u v^T, and each u v^T is a product of a band of u from the left and one of v from the right."""
    rng = np.random.default_rng(kernel)
    channels, h, w = 3, 12, 9
    x = rng.standard_normal((2, channels, h, w))
    weights = rng.standard_normal((channels, kernel, kernel))
    padded = np.pad(x, ((0, 0), (0, 0), *[(kernel // 2,) * 2] * 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (2, 3))
    expected = np.einsum("nchwij,cij->nchw", windows, weights)

    u, sigma, v = np.linalg.svd(weights)
    offsets = range(-(kernel // 2), kernel // 2 + 1)
    rows, cols = (np.stack([shift_matrix(size, o) for o in offsets]) for size in (h, w))
    left = [[np.einsum("ck,khi->chi", sigma[:, r, None] * u[:, :, r], rows)] for r in range(kernel)]
    right = [[np.einsum("ck,kwj->cjw", v[:, r], cols)] for r in range(kernel)]
    groups = [Group(channels, (h, h), (w, w))]
    y = reference.terms(x, left, right, groups, inputs_of(channels, kernel, 1))
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12 * np.abs(expected).max())

    cell = NeoCellTerms(groups, rank=kernel)
    for parameters, values in ((cell.left, left), (cell.right, right)):
        for parameter, (value,) in zip(parameters, values, strict=True):
            parameter.set_data(Tensor(value.astype(np.float32)))
    naive = reference.terms(x, left, right, groups, inputs_of(channels, kernel, 1), np.float32)
    assert_as_near(cell(Tensor(x.astype(np.float32))).asnumpy(), naive, expected)


def test_multiples_of_the_identity_are_a_grouped_pointwise_convolution():
    rng = np.random.default_rng(5)
    channels, width, k, h, w = 6, 3, 4, 9, 10
    x = rng.standard_normal((2, channels, h, w))
    weights = rng.standard_normal((channels // width, width, width))  # of a group: output, input
    expected = np.einsum("goi,ngihw->ngohw", weights, x.reshape(2, -1, width, h, w)).reshape(x.shape)
    inputs = inputs_of(channels, 1, width)
    output = np.arange(channels)
    of_term = [weights[output // width, output % width, channel % width] for channel in inputs]
    left = [[value[:, None, None] * np.eye(k)] for value in of_term]
    right = [[np.broadcast_to(np.eye(k), (channels, k, k))]] * width
    y = reference.terms(x, left, right, parse_spec("4", channels, 1), inputs)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"rank": 0}, ["rank", "got 0"]),
        ({"width": 1.5}, ["width", "1.5"]),
        ({"width": 3}, ["width (=3)", "8 channels"]),
        ({"backend": "fast"}, ["'fast'"]),
    ],
)
def test_mistakes_are_named_in_one_line(arguments, words):
    with pytest.raises(UserError) as error:
        NeoCellTerms(parse_spec("4", 8), **arguments)
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words)
