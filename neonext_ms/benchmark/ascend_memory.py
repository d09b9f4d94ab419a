"""Peak memory of training steps on an NPU, with what makes it less: the dry run's."""

import itertools
from collections.abc import Sequence

from neonext_ms.benchmark.ascend import RECIPE, DryCase, dry_run
from neonext_ms.benchmark.timing import Progress
from neonext_ms.markdown import table

RANKS = (1, 8)
SWITCHES = ("recompute", "parallel_optimizer")


def memory_cases(models: Sequence[str], batch_size: int, image_size: int) -> list[DryCase]:
    """Each model's step on one and eight ranks, with every choice of switches that has an effect."""
    return [
        DryCase(
            model,
            batch_size=batch_size,
            image_size=image_size,
            ranks=ranks,
            training=RECIPE | dict(zip(SWITCHES, switches)),
        )
        for model, ranks in itertools.product(models, RANKS)
        for switches in itertools.product((False, True), repeat=2)
        if ranks > 1 or not switches[1]
    ]


def benchmark_memory(cases: Sequence[DryCase]) -> list[dict]:
    """Dry-run cases one after another.

    Returns:
        for each: case, collectives (how often each kind is called) and peak_memory in bytes.
    """
    progress, rows = Progress(len(cases)), []
    for case in cases:
        progress.begin(_title(case))
        progress.show("compiling", 0)
        rows.append(memory_of(case))
    return rows


def memory_of(case: DryCase) -> dict:
    """A row of `benchmark_memory`."""
    found = dry_run(case)
    names = [kernel["name"] for graph in found["graphs"] for kernel in graph if kernel["kind"] == "hccl"]
    return {
        "case": case,
        "collectives": {name: names.count(name) for name in sorted(set(names))},
        "peak_memory": found["peak_memory"],
    }


def memory_table(rows: Sequence[dict]) -> str:
    """The result of `benchmark_memory` as a Markdown table."""
    lines = [["model", "image", "images a rank", "ranks", *SWITCHES, "collectives", "peak memory (GB)"]]
    for row in rows:
        case = row["case"]
        switches = ("yes" if case.training[name] else "no" for name in SWITCHES)
        calls = ", ".join(f"{count} {name}" for name, count in row["collectives"].items()) or "-"
        sizes = map(str, (case.image_size, case.batch_size, case.ranks))
        lines.append([case.model, *sizes, *switches, calls, f"{row['peak_memory'] / 1e9:.2f}"])
    return table(lines, right=True)


def _title(case: DryCase) -> str:
    switches = "".join(f", {name}" for name in SWITCHES if case.training[name])
    return f"{case.model}, {case.ranks} ranks{switches}"
