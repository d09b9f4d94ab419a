"""The pointwise kernels against the float64 golden, on the layers of the networks and on odd shapes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ascend_kernels.emulated import LIMITS, worst_error
from tests.ascend_kernels.pointwise import OPERATORS, draw, golden, solve

CORES = (1, 20, 24)
LINEAR = [operator for operator in OPERATORS if "gelu" not in operator and "mlp" not in operator]
# channels of the four stages, and the sides of their planes by image size
DIMS = {"t": (96, 192, 384, 768), "b": (128, 256, 512, 1024), "l": (192, 384, 768, 1536), "xl": (256, 512, 1024, 2048)}
SIDES = {224: (56, 28, 14, 7), 384: (96, 48, 24, 12)}
ODD = [(5, 17, 33, 49), (2, 130, 20, 257), (3, 7, 129, 12), (1, 1, 1, 1), (9, 96, 40, 16), (2, 300, 65, 9)]


def layers(models, sizes, images) -> list[tuple[str, tuple[int, ...]]]:
    """Operator and shape of every pointwise layer in a training step: stem, blocks, down-samplings."""
    found = []
    for dims in (DIMS[model] for model in models):
        for sides in (SIDES[size] for size in sizes):
            plain = [(images, 48, dims[0], sides[0] ** 2)]
            plain += [(images, dim, 2 * dim, side**2) for dim, side in zip(dims[:3], sides[:3], strict=True)]
            found += [(op, shape) for op in LINEAR if op != "pointwise_residual" for shape in plain]
            for dim, side in zip(dims, sides, strict=True):
                up, down = (images, dim, 4 * dim, side**2), (images, 4 * dim, dim, side**2)
                found += [(op, up) for op in ("pointwise_gelu", "pointwise_gelu_kept", "pointwise_input_grad")]
                found += [(op, down) for op in ("pointwise_residual", "pointwise_gelu_grad")]
                found += [("pointwise_weight_grad", up), ("pointwise_weight_grad", down)]
                found += [("pointwise_mlp", up)] * (4 * dim <= 1536)  # with more its hidden values leave L2
    return found


def named(cases) -> list:
    return [pytest.param(op, shape, id=f"{op}-{'x'.join(map(str, shape))}") for op, shape in cases]


def check(emulator, operator, dtype, shape, core_counts, integers=False):
    """Runs on each number of cores: clean, within the limit (integers: exact), and the same bits every time."""
    tensors = draw(shape, dtype, integers)
    expected, first = golden(operator, tensors, dtype), None
    for cores in core_counts:
        values, report, raw = solve(emulator, operator, dtype, shape, cores, tensors)
        assert (report["refusal"], report["violations"], report["races"]) == ("", [], 0)
        if first is None:
            first = raw
            assert worst_error(values, expected) <= (0 if integers else LIMITS[dtype])
        assert all(np.array_equal(a.view(np.uint8), b.view(np.uint8)) for a, b in zip(raw, first, strict=True)), cores


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("operator, shape", named(layers(["t"], [224], 1)))
def test_layers(emulator, operator, shape, dtype):
    check(emulator, operator, dtype, (*shape[:3], min(shape[3], 196)), (24,))


@pytest.mark.parametrize("operator, shape", named(layers(DIMS, SIDES, 3)))
def test_every_layer_runs_clean(emulator, operator, shape):
    """Dry: capacities, alignments, ranges, flags, queues and races at full size, T/S, B, L and XL at 224 and 384."""
    report = emulator.report(operator, "float16", shape, 24)
    assert (report["refusal"], report["violations"], report["races"]) == ("", [], 0)


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("shape", ODD, ids=str)
@pytest.mark.parametrize("operator", OPERATORS)
def test_odd_shapes_on_any_number_of_cores(emulator, operator, shape, dtype):
    check(emulator, operator, dtype, shape, CORES)


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("shape", [(3, 200, 150, 49), (7, 96, 130, 16), (2, 33, 300, 144)], ids=str)
@pytest.mark.parametrize("operator", LINEAR)
def test_small_integers_are_exact(emulator, operator, shape, dtype):
    check(emulator, operator, dtype, shape, (20,), integers=True)


@pytest.mark.parametrize(
    "shape, cores, reason",
    [
        ((0, 8, 8, 49), 24, "empty"),
        ((1, 8, 8, 0), 24, "empty"),
        ((1, 8, 8, 49), 0, "no cube core"),
        ((1, 8, 8, 65536), 24, "H * W exceeds 65535"),
        ((1, 65536, 8, 49), 24, "channels exceed 65535"),
    ],
)
@pytest.mark.parametrize("operator", OPERATORS)
def test_refusals_name_the_reason(emulator, operator, shape, cores, reason):
    assert reason in emulator.report(operator, "float16", shape, cores)["refusal"]


def test_an_mlp_whose_hidden_values_leave_l2_is_refused(emulator):
    report = emulator.report("pointwise_mlp", "float16", (128, 512, 2048, 196), 24)
    assert "would not stay in L2" in report["refusal"]
    assert emulator.report("pointwise_mlp", "float16", (128, 512, 2048, 196), 20)["refusal"] == ""


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(list(OPERATORS)),
    st.tuples(st.integers(1, 30), st.integers(1, 400), st.integers(1, 400), st.integers(1, 700)),
    st.sampled_from([1, 3, 20, 24]),
)
def test_every_plan_is_clean(emulator, operator, shape, cores):
    report = emulator.report(operator, "float16", shape, cores)
    assert (report["refusal"], report["violations"]) == ("", [])


@pytest.mark.parametrize("shape", [(128, 96, 384, 3136), (128, 768, 3072, 49), (5, 17, 33, 49)], ids=str)
def test_order_of_summation_does_not_depend_on_the_cores(emulator, shape):
    plans = [emulator.report("pointwise_weight_grad", "float16", shape, cores)["tiling"] for cores in (1, 7, 20, 24)]
    assert len({(plan["strip_pixels"], plan["strip_images"], plan["splits"]) for plan in plans}) == 1


@pytest.mark.parametrize(
    "operator", ["pointwise_gelu", "pointwise_gelu_kept", "pointwise_residual", "pointwise_gelu_grad", "pointwise_mlp"]
)
def test_the_workspace_stays_in_l2(emulator, operator):
    """6.3 MB for 24 cores, whatever the shape; device memory sees nothing of it."""
    n, k, m, pixels = shape = (24, 96, 96, 784)
    report = emulator.report(operator, "float16", shape, 24)
    vector, cube = report["core_vector"], report["core"]
    assert cube["gm_written"] == 0
    assert cube["l2_written"] >= 4 * m * pixels  # float32; one image is this core's share
    assert 0 <= vector["l2_read"] - cube["l2_written"] <= 1024  # s, a value at a time
