"""NeoCell in three dimensions: against einsum in float64, and against the cell of two."""

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor

from neonext_ms.errors import UserError
from neonext_ms.ops import Group, Group3d, NeoCell, NeoCell3d, reference
from tests.support.gradients import ForwardAndGradients, assert_as_near

BACKENDS = ["dense", "patchwise", "fused"]


def blocks_of(cell):
    return [[p.asnumpy() for p in blocks] for blocks in (cell.depth, cell.left, cell.right)]


def results(cell, x, dy):
    """NumPy y, dx, and the gradients by the parameters' names."""
    names = [p.name for p in cell.trainable_params()]
    y, dx, gradients = ForwardAndGradients(cell)(Tensor(x), Tensor(dy))
    return y.asnumpy(), dx.asnumpy(), {name: g.asnumpy() for name, g in zip(names, gradients, strict=True)}


def all_of(x, blocks, groups, dy):
    """y, dx, ddepth..., dleft..., dright... of the reference."""
    dx, *gradients = reference.neocell_3d_gradients(x, *blocks, groups, dy)
    return [reference.neocell_3d(x, *blocks, groups), dx, *sum(gradients, [])]


def check(case, backend, dtype=np.float32):
    groups, has_bias, *shape = case
    rng = np.random.default_rng(shape)
    cell = NeoCell3d(groups, has_bias, backend, seed=rng)
    if has_bias:
        cell.bias.set_data(Tensor(rng.standard_normal(cell.channels).astype(np.float32)))
    blocks = blocks_of(cell)
    bias = cell.bias.asnumpy() if has_bias else np.zeros(cell.channels)
    x = rng.standard_normal((shape[0], cell.channels, *shape[1:])).astype(dtype)
    dy = rng.standard_normal(reference.neocell_3d(x, *blocks, groups).shape).astype(dtype)
    exact = all_of(x, blocks, groups, dy)
    sizes = all_of(np.abs(x), [[np.abs(b) for b in side] for side in blocks], groups, np.abs(dy))
    exact[0] += bias.reshape(1, -1, 1, 1, 1)
    y, dx, gradients = results(cell, x, dy)
    assert y.dtype == dx.dtype == dtype
    names = [f"{side}.{i}" for side in ("depth", "left", "right") for i in range(len(groups))]
    for value, true, size in zip((y, dx, *(gradients[name] for name in names)), exact, sizes, strict=True):
        assert_as_near(value, true.astype(dtype), true, size)
    if has_bias:
        total, size = (v.astype(np.float64).sum((0, 2, 3, 4)) for v in (dy, np.abs(dy)))
        assert_as_near(gradients["bias"], total.astype(dtype), total, size)


CASES = {  # groups, bias, N, D, H, W
    "shifts": ([Group3d(9, (3, 3), (4, 4), (5, 5), (1, 2, 1)), Group3d.cube(2, 4, 1)], True, 2, 5, 7, 9),
    "down-sampling": ([Group3d.resample(2, 1, 5)], False, 2, 5, 6, 7),
    "up and down": ([Group3d(4, (3, 2), (1, 2), (2, 3))], True, 1, 4, 8, 6),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES)
def test_forward_and_gradients(case, backend):
    check(CASES[case], backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_float16_and_eagerly(backend):
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        check(CASES["shifts"], backend)
        check(CASES["up and down"], backend, np.float16)
    finally:
        ms.set_context(mode=ms.GRAPH_MODE)


@st.composite
def cases(draw):
    """(groups, bias, N, D, H, W): groups of square blocks with shifts, or one that resamples."""
    if draw(st.booleans()):
        sides = draw(st.tuples(*[st.tuples(*[st.integers(1, 4)] * 2)] * 3))
        groups = [Group3d(draw(st.integers(1, 4)), *sides)]
    else:
        groups = []
        for _ in range(draw(st.integers(1, 2))):
            kernels = draw(st.tuples(*[st.integers(1, 5)] * 3))
            shifts = tuple(draw(st.integers(0, k - 1)) for k in kernels)
            groups.append(Group3d(draw(st.integers(1, 8)), *((k, k) for k in kernels), shifts))
    smallest = [-(-size_in // size_out) for size_out, size_in in (groups[0].depth, groups[0].left)]
    smallest.append(-(-groups[0].right[0] // groups[0].right[1]))
    return groups, draw(st.booleans()), draw(st.integers(1, 2)), *(draw(st.integers(s, s + 8)) for s in smallest)


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
    groups, _, *shape = CASES["shifts"]
    rng = np.random.default_rng(0)
    cell = NeoCell3d(groups, backend=backend)
    for block in cell.trainable_params():
        block.set_data(Tensor(rng.integers(-3, 4, block.shape).astype(np.float32)))
    x = rng.integers(-3, 4, (shape[0], 13, *shape[1:])).astype(np.float32)
    np.testing.assert_array_equal(cell(Tensor(x)).asnumpy(), reference.neocell_3d(x, *blocks_of(cell), groups))


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_slice_and_blocks_of_one_are_the_cell_of_two_dimensions_bit_for_bit(backend, mode):
    flat = [Group(9, (4, 4), (7, 7), (1, 2)), Group.square(3, 4)]
    deep = [Group3d(g.channels, (1, 1), g.left, g.right, (0, *g.shift)) for g in flat]
    plane, volume = NeoCell(flat, backend=backend, seed=0), NeoCell3d(deep, backend=backend, seed=0)
    for block in volume.depth:
        block.set_data(Tensor(np.ones(block.shape, np.float32)))
    rng = np.random.default_rng(1)
    x, dy = rng.standard_normal((2, 2, 13, 14, 17)).astype(np.float32)
    y, dx, gradients = results(plane, x, dy)
    y_3d, dx_3d, gradients_3d = results(volume, x[:, :, None], dy[:, :, None])
    np.testing.assert_array_equal(y, y_3d[:, :, 0])
    np.testing.assert_array_equal(dx, dx_3d[:, :, 0])
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, gradients_3d[name])


def test_the_reference_by_hand():
    """Blocks of two on a volume of 2 x 2 x 1, shifted along the depth; and the gradients by finite differences."""
    group = Group3d(1, (2, 2), (1, 1), (1, 1), (1, 0, 0))
    depth, one = [np.array([[[1.0, 2.0], [3.0, 4.0]]])], [np.ones((1, 1, 1))]
    x = np.array([10.0, 20.0, 30.0, 40.0]).reshape(1, 1, 2, 2, 1)
    # One channel is fewer than the two sub-groups, so it has the last one's shift, 1: P = [[4, 0], [0, 1]].
    y = reference.neocell_3d(x, depth, one, [2 * one[0]], [group])
    assert y.ravel().tolist() == [80, 160, 60, 80]

    rng = np.random.default_rng(1)
    groups = [Group3d(5, (3, 3), (2, 2), (4, 4), (1, 1, 2))]
    blocks = [[rng.standard_normal((5, k, k))] for k in (3, 2, 4)]
    x, dy = rng.standard_normal((2, 2, 5, 4, 5, 6))
    dx, *gradients = reference.neocell_3d_gradients(x, *blocks, groups, dy)
    for values, gradient in [(x, dx), *((side[0], of[0]) for side, of in zip(blocks, gradients))]:
        direction = rng.standard_normal(values.shape)
        before = (reference.neocell_3d(x, *blocks, groups) * dy).sum()
        values += direction  # Y is linear in each
        after = (reference.neocell_3d(x, *blocks, groups) * dy).sum()
        values -= direction
        assert np.isclose(after - before, (gradient * direction).sum(), rtol=1e-9)


def test_parameters_are_named_by_side_and_group():
    cell = NeoCell3d([Group3d(3, (1, 2), (4, 4), (5, 6))], has_bias=True)
    shapes = {p.name: p.shape for p in cell.get_parameters()}
    assert shapes == {"depth.0": (3, 1, 2), "left.0": (3, 4, 4), "right.0": (3, 5, 6), "bias": (3,)}


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Group3d.cube(4, 8, 4), ["(=4)", "smaller"]),
        (lambda: Group3d(3, (1, 2), (2, 2), (2, 2), (1, 0, 0)), ["only square", "(1, 2)"]),
        (lambda: NeoCell3d([]), ["list of Group3d"]),
        (lambda: NeoCell3d([Group.square(4, 8)]), ["list of Group3d"]),
        (lambda: NeoCell3d([Group3d.cube(2, 8)], backend="fast"), ["'fast'", "dense"]),
        (lambda: NeoCell3d([Group3d.cube(2, 8)], init="zero"), ["'zero'", "normal"]),
        (lambda: NeoCell3d([Group3d.cube(2, 3), Group3d(3, (1, 2), (2, 2), (2, 2))]), ["agree"]),
        (lambda: NeoCell3d([Group3d.cube(2, 3)])(Tensor(np.ones((1, 3, 4, 4), np.float32))), ["(1, 3, 4, 4)", "D, H"]),
        (lambda: NeoCell3d([Group3d.resample(2, 1, 3)])(Tensor(np.ones((1, 3, 1, 4, 4), np.float32))), ["empty"]),
    ],
)
def test_mistakes_are_named_in_one_line(make, words):
    with pytest.raises(UserError) as error:
        make()
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words), str(error.value)
