"""What writing a checkpoint costs the training beside it."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from neonext_ms.benchmark.timing import Progress, check_rounds
from neonext_ms.data import Preprocess
from neonext_ms.data.sources.base import IMAGENET_MEAN, IMAGENET_STD
from neonext_ms.markdown import table
from neonext_ms.models import create_model
from neonext_ms.runtime.ranks import join_ranks
from neonext_ms.training.assemble import make_steps
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.run import progress as training_progress
from neonext_ms.training.run.folder import RunFolder
from neonext_ms.training.run.reporter import Reporter
from neonext_ms.training.run.saver import Saver

CLASSES = 1000


def benchmark_checkpoint(model: str, batch_size: int, image_size: int, rounds: int) -> dict:
    """Time training steps with and without a checkpoint being written, in windows that take turns.

    Random images, AdamW; the checkpoints go to a temporary folder (TMPDIR says where). A round is a window of steps
    with nothing else, then one from the beginning of a save until it is on the disk, and the next round's first window
    has as many steps as that.

    Args:
        model, batch_size, image_size: of the training.
        rounds: of both windows.

    Returns:
        model, batch_size, image_size, megabytes (of a checkpoint), seconds (that writing one took, median), pause_ms
        (median of what the training loop waited in `save`), quiet and writing: steps, and median_ms, low_ms, high_ms
        (quartiles) and p95_ms of one; ratio of the medians.

    Raises:
        UserError: fewer than 2 rounds, or an unknown model.
        OSError: a checkpoint could not be written.
    """
    check_rounds(rounds)
    config = TrainConfig(model=model, batch_size=batch_size, image_size=image_size)
    ranks = join_ranks("auto")
    network = create_model(model, CLASSES, seed=0)
    train_step, _ = make_steps(config, network, ranks)
    step = _timed_step(train_step, batch_size, image_size)
    with tempfile.TemporaryDirectory() as path:
        folder = RunFolder(Path(path), model, keep=2)
        reporter = Reporter(config, folder, rounds, training_progress.Progress(rounds, 0, batch_size))
        saver = Saver(network, train_step, folder, ranks, reporter)
        quiet, writing, pauses, seconds = _windows(step, saver, _manifest(model, image_size), rounds)
        size = sum(file.stat().st_size for file in folder.checkpoints.glob(f"*_{rounds}.*"))
        folder.close()
    result = {"model": model, "batch_size": batch_size, "image_size": image_size, "megabytes": size / 1e6}
    result |= {"seconds": statistics.median(seconds), "pause_ms": 1e3 * statistics.median(pauses)}
    result |= {"quiet": _describe(quiet), "writing": _describe(writing)}
    return {**result, "ratio": result["writing"]["median_ms"] / result["quiet"]["median_ms"]}


def _manifest(model: str, image_size: int) -> dict:
    return {
        "model": {"name": model, "num_classes": CLASSES, "overrides": {}},
        "preprocess": Preprocess(image_size, IMAGENET_MEAN, IMAGENET_STD).to_dict(),
        "class_names": [str(i) for i in range(CLASSES)],
        "epoch": 1,
    }


def _timed_step(train_step, batch_size: int, image_size: int) -> Callable[[], float]:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch_size, 3, image_size, image_size)).astype(np.float32)
    targets = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, batch_size)]

    def step() -> float:
        begin = time.perf_counter()
        train_step(images, targets, None, 1e-4).asnumpy()
        return time.perf_counter() - begin

    return step


def _windows(step: Callable[[], float], saver: Saver, manifest: dict, rounds: int) -> tuple[list[float], ...]:
    """Seconds of the steps of both windows, of the waits in `save`, and of the writing."""
    quiet, writing, pauses, seconds = [], [], [], []
    progress = Progress(1)
    progress.begin(f"{manifest['model']['name']}, a checkpoint beside training steps")
    for number in range(rounds + 1):  # the first compiles and warms up
        progress.show(f"round {number} of {rounds}" if number else "compiling", number / (rounds + 1))
        own = [step() for _ in range(max(10, len(writing) // max(1, number)))]
        begin = time.perf_counter()
        saver.save({**manifest, "step": number})
        pause = time.perf_counter() - begin
        beside = []
        while saver.writing:
            beside.append(step())
        wrote = time.perf_counter() - begin
        saver.finish()
        if number:
            quiet += own
            writing += beside
            pauses.append(pause)
            seconds.append(wrote)
    return quiet, writing, pauses, seconds


def _describe(times: list[float]) -> dict:
    low, median, high = (1e3 * float(value) for value in np.percentile(times, (25, 50, 75)))
    p95 = 1e3 * float(np.percentile(times, 95))
    return {"steps": len(times), "median_ms": median, "low_ms": low, "high_ms": high, "p95_ms": p95}


def checkpoint_table(result: dict) -> str:
    """The result of `benchmark_checkpoint` as a Markdown table, and what was measured."""
    rows = [("", "steps", "median (ms)", "quartiles (ms)", "95 % (ms)")]
    for what, title in (("quiet", "nothing else"), ("writing", "while a checkpoint is written")):
        row = result[what]
        quartiles = f"{row['low_ms']:.1f} - {row['high_ms']:.1f}"
        rows.append((title, str(row["steps"]), f"{row['median_ms']:.1f}", quartiles, f"{row['p95_ms']:.1f}"))
    note = (
        "{model}, batch {batch_size}, {image_size} x {image_size}: a checkpoint of {megabytes:.0f} MB, written in "
        "{seconds:.1f} s; training waits {pause_ms:.0f} ms for its copy. A step beside the writing takes {ratio:.3f} "
        "times one without."
    ).format(**result)
    return f"{table(rows)}\n\n{note}"
