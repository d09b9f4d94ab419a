"""What an NPU is given, by MindSpore's own backend in a dry run: numbers that must not grow."""

from functools import cache

import pytest

from neonext_ms import create_model
from neonext_ms.benchmark.ascend import RECIPE, DryCase, dry_run
from neonext_ms.benchmark.ascend_model import cost
from neonext_ms.deploy.export.limits import Form
from neonext_ms.deploy.export.mindir import write_mindir

PICO = "neonext_pico"
# A block of 14 x 14 planes and one of 7 x 7 at 56 pixels: what every block adds counts as it does in a whole network.
TWO = {"depths": [1, 1], "dims": [32, 64], "kernels": ["4+7", "7"], "shifts": [1, 0]}
BLOCKS = {"structure": {"depths": [1, 1, 2, 1]}}


def two_blocks(jit_level="O0", precision="float16", ranks=1, **training) -> DryCase:
    training |= {"structure": TWO}
    return DryCase(PICO, image_size=56, jit_level=jit_level, precision=precision, ranks=ranks, training=training)


PLAIN = two_blocks(precision="float32")
SYNCHRONISED = two_blocks("O1", "bfloat16", 8, **RECIPE, sync_bn=True)
ACCUMULATED = two_blocks("O1", **RECIPE, global_batch=256)
SHARED = two_blocks(ranks=8, **RECIPE, parallel_optimizer=True)

# At most so many launches, legacy ones, collectives, casts and transposes.
BUDGETS = {
    "two blocks, float32, O0, no EMA, no clipping": (PLAIN, 222, 40, 0, 2, 17),
    "two blocks, bfloat16, O1, sync_bn": (SYNCHRONISED, 240, 38, 19, 28, 1),
    "two blocks, float16, O1, accumulated": (ACCUMULATED, 196, 39, 0, 14, 1),
    "two blocks, float16, O0, 8 ranks that share": (SHARED, 259, 56, 5, 20, 1),
    "pico, evaluation, O0": (DryCase(PICO, "evaluate"), 88, 12, 0, 27, 1),
    "t of five blocks, float16, O0, 8 ranks": (
        DryCase("neonext_t", ranks=8, training=RECIPE | BLOCKS),
        421,
        76,
        3,
        38,
        1,
    ),
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
    """Five blocks and three down-samplings; the last stage's 7 x 7 planes as one product with a Kronecker matrix."""
    cases = ("t of five blocks, float16, O0, 8 ranks", "two blocks, float32, O0, no EMA, no clipping")
    half, single = (kernels(compiled(case)) for case in cases)
    assert sum("aclnnNeoCellGrad" in name for name in half) == 5 + 3
    assert sum("aclnnNeoCellKron" in name for name in half) == 1
    assert sum(name.startswith("Custom_aclnnNeoCell_") for name in half) == 4 + 3
    assert not any("NeoCell" in name for name in single), "they take 16 bits"


@pytest.mark.slow
def test_exported_graph(tmp_path):
    path = tmp_path / "pico.mindir"
    form = Form(".mindir", folded=True, gelu="exact", weights="float16", key=None)
    write_mindir(create_model(PICO, 10, seed=0).set_train(False), path, [8, 3, 224, 224], form)
    found = dry_run(DryCase(str(path), "mindir", batch_size=8))
    most = [91, 2, 0, 4, 1]
    assert all(number <= limit for number, limit in zip(numbers(found), most)), numbers(found)
