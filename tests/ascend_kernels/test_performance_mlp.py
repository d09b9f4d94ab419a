"""Device-memory traffic and predicted times of the pointwise kernels: bounds that a change must not break."""

import json
import os
import subprocess
import sys

import pytest

from ascend_kernels.emulator.library import KERNELS
from ascend_kernels.performance import CHIPS
from ascend_kernels.performance_mlp import mlp_table, predict_pointwise, totals

BACKWARD = ("dz", "dw2", "dx", "dw1")


@pytest.fixture(scope="module")
def table(emulator):
    return mlp_table(emulator, "t", 224, 128, CHIPS["910B2"])


def beyond(rows) -> list:
    """Rows that move more device memory than 1.05 (backward: 1.1) of what must move."""
    return [row for row in rows if row["traffic"] > (1.1 if row["part"] in BACKWARD else 1.05)]


def test_traffic(table):
    """X, Y, R, W and the kept values once; backward dY, X, Z, W and the gradients once."""
    assert beyond(table) == []


@pytest.mark.slow  # full size, so that the reuse of what L2 keeps is that of a real step
@pytest.mark.parametrize("model, chip", [("s", "910B4"), ("b", "910B2"), ("l", "910_93")])
def test_traffic_of_larger_models(emulator, model, chip):
    assert beyond(mlp_table(emulator, model, 224, 128, CHIPS[chip])) == []


def test_predicted_times(table):
    """Milliseconds of all blocks of neonext_t: what the README says, and nothing slower."""
    found = totals(table)
    assert found["cube"] == pytest.approx(3.01, abs=0.01)
    assert found["forward"] <= 1.25 * found["cube_at_70_percent"]
    assert found["step"] <= 19.6


def test_an_mlp_is_one_kernel_where_that_is_faster(emulator, table):
    """Without training: the two products of stages 1 and 2 would be bound by GELU and by memory in turn."""
    parts = {(row["stage"], row["part"]) for row in table if row["mode"] == "forward"}
    assert parts == {(1, "mlp"), (2, "mlp"), (3, "fc1"), (3, "fc2"), (4, "fc1"), (4, "fc2")}
    for row in table:
        if row["part"] == "mlp":
            n, c, hidden, pixels = row["shape"]
            two = [("pointwise_gelu", row["shape"]), ("pointwise_residual", (n, hidden, c, pixels))]
            times = [predict_pointwise(emulator, *product, CHIPS["910B2"])["microseconds"] for product in two]
            assert row["microseconds"] <= 0.75 * sum(times), row


def test_each_kernel_is_near_its_own_bound(table):
    """Of HBM, cube and vector cores in full use; shorter kernels of the late stages lose more to their start."""
    for row in table:
        assert row["ratio"] <= (1.3 if row["stage"] < 3 else 1.75), row


def test_products_without_gelu_are_bound_by_the_cube_in_late_stages(table):
    for row in table:
        if row["stage"] == 4 and row["part"] not in ("fc1", "dz"):
            assert row["bound"] == "cube", row


def test_the_script_prints_the_totals(emulator_library):
    done = subprocess.run(
        [sys.executable, str(KERNELS / "performance_mlp.py"), "--images", "8", "--json"],
        env={**os.environ, "NEO_CELL_LIBRARY": str(emulator_library)},
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout)
    # at 8 images stage 1 alone takes one kernel for an MLP
    assert len(result["rows"]) == 4 * 8 - 1 and result["totals"]["step"] > result["totals"]["forward"]
