"""What an NPU is given: the kernels of a step by MindSpore's own Ascend backend, and a model of their time."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from neonext_ms.benchmark.ascend_emulator import OperatorTimes
from neonext_ms.benchmark.ascend_model import Cost, cost
from neonext_ms.benchmark.timing import Progress
from neonext_ms.errors import UserError
from neonext_ms.markdown import table

ROOT = Path(__file__).resolve().parents[2]
# What the paper trains with (AdamW is the default).
RECIPE = {"ema_decay": 0.9999, "clip_grad": 1.0, "drop_path_rate": 0.1, "loss_scale_type": "dynamic"}
# What mindcv publishes for training on eight NPUs (configs/convnext and configs/resnet of its repository; MindSpore
# 2.3.1, jit level O2): images of a rank, ms a step on 910* (the 910B family), ms a step on the first 910.
PUBLISHED = {"mindcv.convnext_tiny": (16, 48.7, 66.79), "mindcv.resnet50": (32, 31.9, 31.41)}


@dataclass(frozen=True)
class DryCase:
    """A graph to compile for Ascend.

    Args:
        model: name; "mindcv.<name>"; or with work "mindir" a file.
        work: "train", "evaluate" or "mindir".
        batch_size: images of one rank in one call.
        image_size: side of the images in pixels.
        precision: of the activations, "float16", "bfloat16" or "float32".
        jit_level: MindSpore's, "O0" (a kernel an operator) or "O1" (fused).
        ranks: of the job, of which one is simulated.
        training: keys of `TrainConfig`.
        package: whether the project's AscendC operators are installed.
    """

    model: str
    work: str = "train"
    batch_size: int = 128
    image_size: int = 224
    precision: str = "float16"
    jit_level: str = "O0"
    ranks: int = 1
    training: dict = field(default_factory=RECIPE.copy)
    package: bool = True


def dry_run(case: DryCase) -> dict:
    """Compile and simulate a case in a process of its own.

    Returns:
        graphs, a list of kernels each, and peak_memory in bytes, as `ascend_kernels/dryrun` tells them.

    Raises:
        UserError: no checkout, no compiler, or a graph that cannot be compiled; with the first line of the reason.
    """
    program = ROOT / "ascend_kernels" / "dryrun"
    if not program.is_dir():
        raise UserError("the dry run for Ascend needs a checkout of the project: it is not part of what is installed")
    with tempfile.TemporaryDirectory(prefix="neonext-") as folder:
        output = Path(folder) / "kernels.json"
        command = [sys.executable, str(program), "--kernels", str(output), "--ranks", str(case.ranks)]
        command += [] if case.package else ["--no-package"]
        command += ["--", "-m", "neonext_ms.benchmark.ascend_program", json.dumps(asdict(case))]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if re.match(r"no dry run|\w*Error: ", line)]
            raise UserError(f"{case.model} is not compiled for Ascend: {lines[-1] if lines else done.stderr[-500:]}")
        return json.loads(output.read_text())


def benchmark_ascend(cases: Sequence[DryCase]) -> list[dict]:
    """Dry-run cases one after another.

    Returns:
        for each: case, cost (a `Cost` of all its graphs) and peak_memory.
    """
    progress, rows, times = Progress(len(cases)), [], OperatorTimes()
    for case in cases:
        progress.begin(f"{case.model}, {case.work}, {case.jit_level}")
        progress.show("compiling", 0)
        found = dry_run(case)
        kernels = [kernel for graph in found["graphs"] for kernel in graph]
        rows.append({"case": case, "cost": cost(kernels, emulated=times), "peak_memory": found["peak_memory"]})
    return rows


def mindcv_cases(sizes: dict) -> list[DryCase]:
    """mindcv's ConvNeXt-T with fields of a `DryCase` as ours, and its networks at the sizes that it publishes times of.

    Raises:
        UserError: mindcv is not installed.
    """
    if importlib.util.find_spec("mindcv") is None:
        raise UserError("--against mindcv needs mindcv, which is not installed: pip install mindcv")
    published = [DryCase(name, batch_size=images) for name, (images, *_) in PUBLISHED.items()]
    return [DryCase(next(iter(PUBLISHED)), **sizes), *published]


def ascend_table(rows: Sequence[dict]) -> str:
    """The result of `benchmark_ascend` as Markdown tables: counts and times, what takes the most, what is published."""
    head = ["graph", "images", "launches", "legacy", "collectives", "casts", "transposes", "memory (GB)", "moved (GB)"]
    lines = [[*head, "device (ms)", "its floor (ms)", "host (ms)", "images/s"]]
    for row in rows:
        lines.append([_title(row["case"]), str(row["case"].batch_size), *_numbers(row)])
    largest = [["graph", "what takes the most of the device's time: kernels, ms"]]
    for row in rows:
        items = (f"{_short(name)} {count}, {1e3 * time:.1f}" for name, count, time in row["cost"].largest[:6])
        largest.append([f"{_title(row['case'])}, {row['case'].batch_size} images", "; ".join(items)])
    return "\n\n".join([table(lines, right=True), table(largest), *_published_table(rows)])


def _published_table(rows: Sequence[dict]) -> list[str]:
    """The model's times beside those that mindcv publishes, where there are any."""
    head = ["mindcv's", "images", "published, 910* (ms)", "published, 910 (ms)", "model: device (ms)", "host (ms)"]
    lines = []
    for row in rows:
        images, newer, first = PUBLISHED.get(row["case"].model, (0, 0.0, 0.0))
        if row["case"].batch_size == images:
            times = (newer, first, 1e3 * row["cost"].device, 1e3 * row["cost"].host)
            lines.append([row["case"].model.partition(".")[2], str(images), *(f"{time:.1f}" for time in times)])
    return [table([head, *lines], right=True)] if lines else []


def _short(name: str) -> str:
    """Of the project's operators, Custom_aclnnNeoCell_aclnnNeoCell, their own name."""
    return name.removeprefix("Custom_aclnn").partition("_aclnn")[0]


def _title(case: DryCase) -> str:
    ranks = f", {case.ranks} ranks" if case.ranks > 1 else ""
    return f"{Path(case.model).name}, {case.work}, {case.precision}, {case.jit_level}{ranks}"


def _numbers(row: dict) -> list[str]:
    found: Cost = row["cost"]
    counts = (found.launches, found.legacy, found.collectives, found.casts, found.transposes)
    times = (found.device, found.floor, found.host)
    sizes = (row["peak_memory"] / 1e9, found.bytes / 1e9)
    rate = row["case"].batch_size / max(found.device, found.host)
    return [*map(str, counts), *(f"{size:.1f}" for size in sizes), *(f"{1e3 * t:.1f}" for t in times), f"{rate:.0f}"]
