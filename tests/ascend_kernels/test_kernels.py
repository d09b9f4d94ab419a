"""The kernels against the float64 golden, on every shape of the networks and on odd ones."""

import numpy as np
import pytest

from tests.ascend_kernels import cases
from tests.ascend_kernels.emulated import LIMITS, draw, golden, solve, worst_error

CORES = (1, 20, 24)
ODD = [(5, 6, 17, 23, 17, 23), (3, 5, 15, 33, 7, 16), (7, 30, 2, 2, 2, 2), (4, 3, 3, 5, 9, 2), (2, 2, 37, 90, 64, 16)]
SMALL = [
    (9, 26, 14, 14, 14, 14),
    (9, 5, 28, 28, 14, 14),
    (2, 3, 56, 56, 56, 56),
    (70, 4, 7, 7, 7, 7),
    (3, 4, 17, 23, 9, 40),
]


def images_for(shape) -> tuple[int, ...]:
    """Enough images for a full and a partial tile on small planes, two on large ones."""
    return ({7: 21, 12: 11, 14: 11, 24: 5, 28: 5}.get(shape[2], 2), *shape[1:])


def operators(shape) -> list[str]:
    return ["neo_cell", "neo_cell_grad"] + ["neo_cell_kron"] * cases.takes_kron(shape)


def matrix(shapes) -> list:
    return [
        pytest.param(operator, shape, id=f"{operator}-{cases.name(shape)}")
        for shape in shapes
        for operator in operators(shape)
    ]


def check(emulator, operator, dtype, shape, core_counts, integers=False):
    """Runs on each number of cores: clean, within the limit (integers: exact), and the same bits every time."""
    tensors = draw(shape, dtype, integers=integers)
    expected = golden(operator, tensors, dtype)
    first = None
    for cores in core_counts:
        values, report, raw = solve(emulator, operator, dtype, shape, cores, tensors)
        assert (report["refusal"], report["violations"], report["races"]) == ("", [], 0)
        if first is None:
            first = raw
            assert worst_error(values, expected) <= (0 if integers else LIMITS[dtype])
        assert all(np.array_equal(a.view(np.uint8), b.view(np.uint8)) for a, b in zip(raw, first, strict=True)), cores


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("operator, shape", matrix(map(images_for, cases.stages(2))))
def test_stage_shapes(emulator, operator, shape, dtype):
    """On the cores of both chips; that the split over cores, down to one, does not know the type, odd shapes show."""
    check(emulator, operator, dtype, shape, CORES[1:] if dtype == "float16" else CORES[-1:])


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("operator, shape", matrix(cases.downsamplings(1)))
def test_downsampling_cells(emulator, operator, shape, dtype):
    check(emulator, operator, dtype, shape, (24,))


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("operator, shape", matrix(ODD))
def test_odd_shapes(emulator, operator, shape, dtype):
    check(emulator, operator, dtype, shape, CORES)


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("operator, shape", matrix(SMALL))
def test_small_integers_are_exact(emulator, operator, shape, dtype):
    check(emulator, operator, dtype, shape, (3,), integers=True)


@pytest.mark.parametrize("side", [7, 14, 28])
def test_identity_and_permutation(emulator, side):
    """A = I, B = a permutation: Y is X with permuted columns, bit for bit."""
    shape = (5, 26, side, side, side, side)
    tensors = draw(shape, "float16")
    order = np.random.default_rng(1).permutation(side)
    identity = np.broadcast_to(np.eye(side), tensors["a"].shape)
    tensors["a"] = np.ascontiguousarray(identity.astype(np.float16)).view(np.uint16)
    tensors["b"] = np.ascontiguousarray(identity[:, :, order].astype(np.float16)).view(np.uint16)
    _, report, (y,) = solve(emulator, "neo_cell", "float16", shape, 2, tensors)
    assert report["violations"] == []
    assert np.array_equal(y, tensors["x"][..., order])


@pytest.mark.parametrize("channels, images", [(1, 9), (3, 50), (13, 6)])
def test_fewer_channels_than_cores(emulator, channels, images):
    """Images are split then: over cores in the forward, into parts with their own sums in the gradient."""
    for operator in ("neo_cell", "neo_cell_grad"):
        check(emulator, operator, "float16", (images, channels, 14, 14, 14, 14), (1, 7, 24))


def test_saturation_instead_of_infinity(emulator):
    """CTRL[48] = 0: what exceeds fp16 becomes 65504, as on the chip."""
    shape = (1, 24, 14, 14, 14, 14)
    tensors = draw(shape, "float16")
    tensors["x"][:] = np.float16(30000).view(np.uint16)
    tensors["a"][:] = tensors["b"][:] = np.float16(1).view(np.uint16)
    _, _, (y,) = solve(emulator, "neo_cell", "float16", shape, 24, tensors)
    assert np.all(y.view(np.float16) == 65504)
