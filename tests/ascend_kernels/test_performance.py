"""Traffic, instructions and predicted times: bounds that a change of the kernels must not break."""

import json
import os
import subprocess
import sys

import pytest

from ascend_kernels.emulator.library import KERNELS
from ascend_kernels.performance import CHIPS, forward_operator, predict, stage_shapes, switch_points
from tests.ascend_kernels import cases
from tests.ascend_kernels.battery import floor_bytes

STAGES = [shape for _, shape in stage_shapes(128)]
FOUR_STAGES = [cases.square(128, 96 << s, 56 >> s) for s in range(4)]


def ids(shapes):
    return [cases.name(s) for s in shapes]


@pytest.mark.parametrize("shape", STAGES + cases.downsamplings(128), ids=ids(STAGES + cases.downsamplings(128)))
def test_traffic(emulator, shape):
    """At most 5 % above 4 B (gradient: 6 B) an element and the weights."""
    for operator in (forward_operator(emulator, shape), "neo_cell_grad"):
        row = predict(emulator, operator, shape, CHIPS["910B2"])
        share = -(-shape[1] // 24)
        moved = row["bytes_per_element"] * shape[0] * share * shape[2] * shape[3]
        assert moved <= 1.05 * floor_bytes(operator, (shape[0], share, *shape[2:]), cores=1)


@pytest.mark.parametrize("shape", FOUR_STAGES, ids=ids(FOUR_STAGES))
@pytest.mark.parametrize("chip", CHIPS)
def test_forward_near_the_memory_bound(emulator, shape, chip):
    """Predicted within 1.25 x of the HBM floor (X and Y alone, without the weights), and not bound by issue."""
    chip = CHIPS[chip]
    row = predict(emulator, forward_operator(emulator, shape), shape, chip)
    assert row["ratio"] <= 1.25
    assert row["hbm_cycles_per_instruction"] >= 15


@pytest.mark.parametrize("side, channels", [(14, 384), (12, 768)])
def test_gradient_of_small_planes_is_not_bound_by_issue(emulator, side, channels):
    row = predict(emulator, "neo_cell_grad", cases.square(128, channels, side), CHIPS["910B2"])
    assert row["hbm_cycles_per_instruction"] >= 15
    assert row["ratio"] <= 1.25


def test_the_tiling_takes_the_faster_kernel(emulator):
    """The Kronecker kernel from the number of images on where the model finds it faster."""
    for row in switch_points(emulator, CHIPS["910B2"]):
        assert row["chosen"] == min(("neo_cell", "neo_cell_kron"), key=row.get), row


def test_the_script_prints_every_stage(emulator_library):
    done = subprocess.run(
        [sys.executable, str(KERNELS / "performance.py"), "--chip", "910B4", "--json"],
        env={**os.environ, "NEO_CELL_LIBRARY": str(emulator_library)},  # which it would compile in the same way
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(done.stdout)["910B4"]
    assert len(rows) == 2 * len(STAGES)
    assert all(row["microseconds"] > row["floor_microseconds"] for row in rows)
