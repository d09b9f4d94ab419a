"""Whole networks on every chip, with the project's AscendC operators and without them: a model of the time."""

import itertools
from collections.abc import Sequence

from neonext_ms.benchmark.ascend import DryCase, dry_run
from neonext_ms.benchmark.ascend_emulator import OperatorTimes
from neonext_ms.benchmark.ascend_model import CHIPS, cost
from neonext_ms.benchmark.timing import Progress
from neonext_ms.markdown import table

WORK = {"evaluate": "forward", "train": "step"}


def benchmark_chips(models: Sequence[str], sizes: Sequence[int], batch_size: int) -> list[dict]:
    """Dry-run every model's forward and training step twice, and model the time on every chip.

    Returns:
        for each: model, image_size, work, batch_size, and under "with" and "without" chip: milliseconds of the device.
    """
    times = OperatorTimes()
    cases = list(itertools.product(models, sizes, WORK))
    progress, rows = Progress(2 * len(cases)), []
    for model, size, work in cases:
        row = {"model": model, "image_size": size, "work": work, "batch_size": batch_size}
        for name, package in (("with", True), ("without", False)):
            progress.begin(f"{model} at {size}, {WORK[work]}, {name} operators")
            progress.show("compiling", 0)
            found = dry_run(DryCase(model, work, batch_size=batch_size, image_size=size, package=package))
            row[name] = milliseconds([kernel for graph in found["graphs"] for kernel in graph], times)
        rows.append(row)
    return rows


def milliseconds(kernels: Sequence[dict], times) -> dict[str, float]:
    """Of a step on every chip; `times` gives those of the project's kernels."""
    return {name: 1e3 * cost(kernels, chip, times).device for name, chip in CHIPS.items()}


def chips_table(rows: Sequence[dict]) -> str:
    """The result of `benchmark_chips` as a Markdown table."""
    lines = [["model", "image", "work", "images", *CHIPS]]
    for row in rows:
        both = (f"{row['with'][chip]:.1f} / {row['without'][chip]:.1f}" for chip in CHIPS)
        lines.append([row["model"], str(row["image_size"]), WORK[row["work"]], str(row["batch_size"]), *both])
    note = "Milliseconds of the device with / without the project's operators, float16. A model, not a measurement."
    return f"{table(lines, right=True)}\n\n{note}"
