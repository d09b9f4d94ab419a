"""The model of an NPU's time, on kernels whose cost is counted by hand."""

import re

import pytest

from ascend_kernels import performance
from ascend_kernels.performance_mlp import predict_pointwise
from neonext_ms.benchmark.ascend import DryCase, ascend_table
from neonext_ms.benchmark.ascend_chips import chips_table, milliseconds
from neonext_ms.benchmark.ascend_emulator import OperatorTimes
from neonext_ms.benchmark.ascend_memory import memory_cases, memory_table
from neonext_ms.benchmark.ascend_model import CHIPS, cost, device_seconds, floor_seconds, moved, multiplied


def kernel(name, inputs, outputs, kind="opapi", dtype="Float16"):
    tensors = [[[dtype, list(shape)] for shape in shapes] for shapes in (inputs, outputs)]
    return {"name": name, "kind": kind, "inputs": tensors[0], "outputs": tensors[1], "scope": ""}


@pytest.mark.parametrize(
    "name, inputs, output, expected",
    [
        ("MatMulExt", [(1, 384, 96), (128, 96, 3136)], (128, 384, 3136), 2 * 128 * 384 * 3136 * 96),
        ("MatMul", [(7, 5), (3, 5)], (7, 3), 2 * 7 * 3 * 5),
        ("BatchMatMul", [(4, 5, 7), (4, 5, 3)], (4, 7, 3), 2 * 4 * 7 * 3 * 5),  # the first transposed
        ("Conv2D", [(2, 3, 8, 8), (16, 3, 4, 4)], (2, 16, 2, 2), 2 * (2 * 16 * 2 * 2) * (3 * 4 * 4)),
        ("Mul", [(7, 5), (7, 5)], (7, 5), 0),
        ("Custom_aclnnNeoCell_aclnnNeoCell", [(2, 3, 8, 6), (3, 4, 8), (3, 6, 2)], (2, 3, 4, 2), 2 * 6 * (192 + 48)),
        ("Custom_aclnnPointwise_aclnnPointwise", [(2, 3, 4, 5), (7, 3), (7,)], (2, 7, 4, 5), 2 * (2 * 20) * 3 * 7),
        ("Custom_aclnnPointwiseWeightGrad_x", [(2, 7, 4, 5), (2, 3, 4, 5)], (1, 7, 3), 2 * (2 * 20) * 3 * 7),
        ("Custom_aclnnPointwiseMlp_x", [(2, 3, 4, 5), (7, 3), (7,), (3, 7)], (2, 3, 4, 5), 2 * 2 * (2 * 20) * 3 * 7),
        ("Custom_aclnnNeoCellKron_aclnnNeoCellKron", [(2, 3, 49), (3, 36, 49)], (2, 3, 36), 2 * 6 * 49 * 36),
    ],
)
def test_multiplications(name, inputs, output, expected):
    assert multiplied(kernel(name, inputs, [output])) == expected


def test_the_gradient_of_a_neocell_is_five_products():
    shapes = [(2, 3, 8, 6), (3, 4, 8), (3, 6, 2), (2, 3, 4, 2)]
    # dY B^T: 4 x 2 x 6; A^T of it: 8 x 4 x 6; times X^T: 4 x 6 x 8; A X: 4 x 8 x 6; (A X)^T dY: 6 x 4 x 2
    assert multiplied(kernel("Custom_aclnnNeoCellGrad", shapes, [])) == 2 * 6 * (48 + 192 + 192 + 192 + 48)


def test_memory_is_every_tensor_once():
    assert moved(kernel("Add", [(10, 10), (10, 10)], [(10, 10)])) == 3 * 200
    assert moved(kernel("InplaceCopy", [(100,), (100,)], [(100,)], dtype="Float32")) == 2 * 400, "its target is written"


def test_a_large_product_is_limited_by_the_cube_and_a_thin_one_by_memory():
    large, thin = (kernel("MatMul", [(n, 8192), (8192, n)], [(n, n)]) for n in (8192, 16))
    assert floor_seconds(large) == pytest.approx(2 * 8192**3 / 353.9e12, rel=1e-3)
    assert floor_seconds(thin) == pytest.approx((2 * 16 * 8192 + 16 * 16) * 2 / 1.3824e12, rel=1e-3)
    assert device_seconds(large) > floor_seconds(large) and floor_seconds(kernel("Add", [(9,)], [(9,)])) == 0


def test_views_are_no_launches():
    graph = [
        kernel("Reshape", [(4,)], [(2, 2)], kind="rt"),
        kernel("TransposeExtView", [(2, 2)], [(2, 2)], kind="host"),
        kernel("Cast", [(4,)], [(4,)]),
        kernel("Transpose", [(2, 2)], [(2, 2)]),
        kernel("Assign", [(4,), (4,)], [(4,)], kind="acl"),
        kernel("AllReduce", [(4,)], [(4,)], kind="hccl"),
    ]
    found = cost(graph)
    assert (found.launches, found.legacy, found.collectives, found.casts, found.transposes) == (4, 1, 1, 1, 1)
    assert found.host == pytest.approx(7e-6 + 7e-6 + 25e-6 + 15e-6)
    assert [name for name, *_ in found.largest].index("AllReduce") >= 0


def test_published_times_stand_beside_those_of_the_same_size():
    launched = cost([kernel("Custom_aclnnNeoCell_aclnnNeoCell", [(2, 3, 8, 6), (3, 4, 8), (3, 6, 2)], [(2, 3, 4, 2)])])
    cases = [DryCase("neonext_t", batch_size=32), *(DryCase("mindcv.resnet50", batch_size=size) for size in (32, 128))]
    text = ascend_table([{"case": case, "cost": launched, "peak_memory": 0} for case in cases])
    assert re.search(r"\| neonext_t, train, float16, O0, 32 images +\| NeoCell 1, 0.0 ", text)
    *_, head, _, line = text.splitlines()
    assert [cell.strip() for cell in line.split("|")[1:-1]] == ["resnet50", "32", "31.9", "31.4", "0.0", "0.0"]
    assert head.split("|")[1].strip() == "mindcv's"


def test_the_projects_operators_take_what_the_emulator_says(emulator, emulator_library, monkeypatch):
    monkeypatch.setenv("NEO_CELL_LIBRARY", str(emulator_library))
    times, chip = OperatorTimes(), CHIPS["910B4"]
    plane, w = (24, 32, 14, 14), (64, 32)
    pointwise = [
        ("PointwiseMlp", [plane, w, (64,), (32, 64), (32,), plane, (24,)], (24, 32, 64, 196)),
        ("PointwiseInputGrad", [(24, 64, 14, 14), w], (24, 32, 64, 196)),
        ("PointwiseWeightGrad", [(24, 64, 14, 14), plane], (24, 32, 64, 196)),
    ]
    for name, inputs, shape in pointwise:
        operator = re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()
        expected = predict_pointwise(emulator, operator, shape, performance.CHIPS["910B4"])["microseconds"] * 1e-6
        assert times(kernel(f"Custom_aclnn{name}_aclnn{name}", inputs, []), chip) == pytest.approx(expected)
    planes = [
        ("NeoCell", [plane, (32, 7, 14), (32, 14, 9)], (24, 32, 14, 14, 7, 9)),
        ("NeoCellKron", [(24, 32, 49), (32, 36, 49)], (24, 32, 1, 49, 1, 36)),
    ]
    for name, inputs, shape in planes:
        report = emulator.report("neo_cell" if name == "NeoCell" else "neo_cell_kron", "float16", shape, 20)
        one = kernel(f"Custom_aclnn{name}_aclnn{name}", inputs, [])
        assert times(one, chip) == pytest.approx(report["cycles"]["total"] / 1.5e9)
        assert milliseconds([one], times)["910B4"] == pytest.approx(1e3 * times(one, chip) + 2e-3), "and a launch"
    assert times(kernel("MatMul", [(7, 5), (3, 5)], [(7, 3)]), chip) is None


def test_a_sum_in_two_halves_moves_as_much_as_in_one():
    """100 million numbers on eight ranks: 2 x 400 MB over the links, once or half by half."""
    whole, part = (100_000_000,), (12_500_000,)
    sizes = {"AllReduce": (whole, whole), "ReduceScatter": (whole, part), "AllGather": (part, whole)}
    seconds = {
        name: device_seconds(kernel(name, [one], [other], kind="hccl", dtype="Float32")) - 2e-6
        for name, (one, other) in sizes.items()
    }
    assert seconds["AllReduce"] == pytest.approx(8e-3)
    assert seconds["ReduceScatter"] == seconds["AllGather"] == pytest.approx(4.5e-3), "each rank's own part stays"


def test_memory():
    cases = memory_cases(["neonext_b"], 64, 384)
    found = [(case.ranks, case.training["recompute"], case.training["parallel_optimizer"]) for case in cases]
    eight = [(8, False, False), (8, False, True), (8, True, False), (8, True, True)]
    assert found == [(1, False, False), (1, True, False), *eight]
    assert all(case.training["ema_decay"] and case.training["clip_grad"] for case in cases)
    row = {"case": cases[3], "collectives": {"AllGather": 2, "AllReduce": 1}, "peak_memory": 12_345_000_000}
    *_, line = memory_table([{"case": cases[0], "collectives": {}, "peak_memory": 0}, row]).splitlines()
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells == ["neonext_b", "384", "64", "8", "no", "yes", "2 AllGather, 1 AllReduce", "12.35"]


def test_chips():
    """Those of the kernels' own model; a product takes as much longer as a chip is slower."""
    assert {name: (c.cores, c.megahertz) for name, c in CHIPS.items()} == {
        name: (c.cores, c.megahertz) for name, c in performance.CHIPS.items()
    }
    found = milliseconds([kernel("MatMul", [(8192, 8192), (8192, 8192)], [(8192, 8192)])], None)
    assert (found["910B4"] - 2e-3) / (found["910B2"] - 2e-3) == pytest.approx(24 * 1800 / (20 * 1500))
    row = {"model": "neonext_t", "image_size": 224, "work": "train", "batch_size": 128}
    text = chips_table([{**row, "with": dict.fromkeys(CHIPS, 20.04), "without": dict.fromkeys(CHIPS, 40.06)}])
    assert re.search(r"neonext_t +\| +224 +\| +step +\| +128( +\| +20\.0 / 40\.1){5}", text), text
