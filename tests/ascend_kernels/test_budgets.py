"""What an NPU is given, by MindSpore's own backend in a dry run: numbers that must not grow."""

from functools import cache

import pytest

from neonext_ms import create_model
from neonext_ms.benchmark.ascend import RECIPE, DryCase, dry_run
from neonext_ms.benchmark.ascend_model import cost
from neonext_ms.deploy.export.limits import Form
from neonext_ms.deploy.export.mindir import write_mindir

PICO = "neonext_pico"
PLAIN = {"training": {}}
ACCUMULATED = {"training": RECIPE | {"global_batch": 256}}
SYNCHRONISED = {"ranks": 8, "training": RECIPE | {"sync_bn": True}}
SHARED = {"ranks": 8, "training": RECIPE | {"parallel_optimizer": True}}

# At most so many launches, legacy ones, collectives, casts and transposes.
BUDGETS = {
    "pico, float32, O0, no EMA, no clipping": (DryCase(PICO, precision="float32", **PLAIN), 438, 63, 0, 2, 37),
    "pico, bfloat16, O1, sync_bn": (
        DryCase(PICO, precision="bfloat16", jit_level="O1", **SYNCHRONISED),
        460,
        58,
        39,
        64,
        1,
    ),
    "pico, float16, O1, accumulated": (DryCase(PICO, jit_level="O1", **ACCUMULATED), 358, 59, 0, 32, 1),
    "pico, evaluation, O0": (DryCase(PICO, "evaluate"), 92, 12, 0, 27, 1),
    "pico, float16, O0, 8 ranks that share": (DryCase(PICO, **SHARED), 426, 79, 5, 38, 1),
    "t, float16, O0, 8 ranks": (DryCase("neonext_t", ranks=8), 931, 141, 3, 92, 1),
}


@cache
def compiled(name: str) -> dict:
    """Compiled once for all tests of this file."""
    return dry_run(BUDGETS[name][0])


def numbers(found: dict) -> list[int]:
    total = cost([kernel for graph in found["graphs"] for kernel in graph])
    return [total.launches, total.legacy, total.collectives, total.casts, total.transposes]


def kernels(found: dict) -> list[str]:
    return [kernel["name"] for graph in found["graphs"] for kernel in graph]


@pytest.mark.slow
@pytest.mark.parametrize("name", BUDGETS)
def test_no_more_than_the_budget(name):
    _, *budget = BUDGETS[name]
    found = numbers(compiled(name))
    assert all(number <= most for number, most in zip(found, budget)), (found, budget)


@pytest.mark.slow
@pytest.mark.parametrize("name", BUDGETS)
def test_nothing_runs_on_the_host(name):
    kinds = {kernel["kind"] for graph in compiled(name)["graphs"] for kernel in graph}
    assert kinds <= {"opapi", "acl", "rt", "host", "akg", "hccl"}, "aclnn, legacy, copies, views, fused, collectives"


@pytest.mark.slow
def test_the_projects_operators_are_taken_where_they_serve():
    """18 blocks and three down-samplings; the last stage's 7 x 7 planes as one product with a Kronecker matrix."""
    cases = ("t, float16, O0, 8 ranks", "pico, float32, O0, no EMA, no clipping")
    half, single = (kernels(compiled(case)) for case in cases)
    assert sum("aclnnNeoCellGrad" in name for name in half) == 18 + 3
    assert sum("aclnnNeoCellKron" in name for name in half) == 3
    assert sum(name.startswith("Custom_aclnnNeoCell_") for name in half) == 15 + 3
    assert not any("NeoCell" in name for name in single), "they take 16 bits"


@pytest.mark.slow
def test_exported_graph(tmp_path):
    path = tmp_path / "pico.mindir"
    form = Form(".mindir", folded=True, gelu="exact", weights="float16", key=None)
    write_mindir(create_model(PICO, 10, seed=0).set_train(False), path, [8, 3, 224, 224], form)
    found = dry_run(DryCase(str(path), "mindir", batch_size=8))
    most = [91, 2, 0, 4, 1]
    assert all(number <= limit for number, limit in zip(numbers(found), most)), numbers(found)
