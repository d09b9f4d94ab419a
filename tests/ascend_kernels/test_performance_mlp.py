"""Device-memory traffic and predicted times of the pointwise kernels: bounds that a change must not break."""

import json
import os
import subprocess
import sys

import pytest

from ascend_kernels.emulator.library import KERNELS
from ascend_kernels.performance import CHIPS
from ascend_kernels.performance_mlp import mlp_table, totals

BACKWARD = ("dz", "dw2", "dx", "dw1")


@pytest.fixture(scope="module")
def table(emulator):
    return mlp_table(emulator, "t", 224, 128, CHIPS["910B2"])


def beyond(rows, backward=1.1) -> list:
    """Rows that move more device memory than 1.05 (backward: as given) of what must move."""
    return [row for row in rows if row["traffic"] > (backward if row["part"] in BACKWARD else 1.05)]


def test_traffic(table):
    """X, Y, R, W and the kept values once; backward dY, X, Z, W and the gradients once."""
    assert beyond(table) == []


@pytest.mark.slow  # full size, so that the reuse of what L2 keeps is that of a real step
@pytest.mark.parametrize("model, chip", [("s", "910B4"), ("b", "910B2"), ("l", "910_93")])
def test_traffic_of_larger_models(emulator, model, chip):
    assert beyond(mlp_table(emulator, model, 224, 128, CHIPS[chip]), backward=1.12) == []


def test_predicted_times(table):
    """Milliseconds of all blocks of neonext_t: what the README says, and nothing slower."""
    found = totals(table)
    assert found["cube"] == pytest.approx(3.01, abs=0.01)
    assert found["forward"] <= 7.6
    assert found["step"] <= 22.2
    assert found["one_kernel_at_best"] == pytest.approx(5.05, abs=0.1)


def test_each_kernel_is_near_its_own_bound(table):
    """Of HBM, cube and vector cores in full use; shorter kernels of the late stages lose more to their start."""
    for row in table:
        assert row["ratio"] <= (1.2 if row["stage"] < 3 else 1.75), row


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
    assert len(result["rows"]) == 4 * 8 and result["totals"]["step"] > result["totals"]["forward"]
