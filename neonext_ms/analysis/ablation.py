"""The paper's ablation of the initialisation (Table 3): NeoInit against random normal, several seeds of each."""

import gc
import logging
import math
import statistics
import time
from dataclasses import fields, replace
from pathlib import Path

from neonext_ms.analysis.plots import read_series
from neonext_ms.checkpoint.fields import check_type, parse_json
from neonext_ms.errors import DivergedError, UserError
from neonext_ms.files import read_regular, write_atomically
from neonext_ms.texts import to_json
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.run.progress import duration

INITS = {"neo": "NeoInit", "normal": "random normal"}

# The paper's settings (Section 4.2: 25 epochs of SGD with momentum 0.9, batch 64, lr 0.1 after one epoch of warm-up,
# cosine). It names no augmentation or regularisation: a shift by up to 2 pixels is chosen here.
RECIPE = {
    "random_crop": "pad",
    "crop_padding": 2,
    "label_smoothing": 0.0,
    "batch_size": 64,
    "eval_batch_size": 90,
    "num_workers": 0,
    "epochs": 25,
    "optimizer": "sgd",
    "lr": 0.1,
    "weight_decay": 0.0,
    "keep_checkpoint_max": 1,
    "log_interval": 1000,
}

log = logging.getLogger(__name__)


def ablate(config: TrainConfig, seeds: int) -> dict:
    """Train every initialisation with the seeds config.seed, config.seed + 1, ...; runs that are done are kept.

    A run diverged if its loss stopped being a number, or if its last validation loss is not below that of guessing,
    ln(classes). It is counted, and the others go on. One that was interrupted goes on from its last checkpoint.

    Args:
        config: of each run, but for neocell_init and seed; output_dir is the folder of all (null: one below runs/).
        seeds: how many.

    Returns:
        folder, model, dataset, epochs; runs (init, seed, run, diverged: null or why, seconds, curve: epoch, loss and
        accuracy of each evaluation); table: for each init its label, runs, diverged, and mean and spread (standard
        deviation of the sample) of accuracy, best_accuracy, loss over the runs that did not diverge, null if none.

    Raises:
        UserError: the folder holds an ablation with another configuration, or a run cannot be made.
    """
    if seeds < 1:
        raise UserError(f"seeds must be at least 1, got {seeds}")
    if config.resume is not None:
        raise UserError(f"an ablation goes on with what is in its output_dir: leave out resume={config.resume}")
    folder = Path(config.output_dir or f"runs/ablation-{config.model}-{config.dataset}")
    _keep_config(config, folder)
    runs = []
    tasks = [(init, config.seed + i) for i in range(seeds) for init in INITS]
    files = [folder / f"{init}-{seed}.json" for init, seed in tasks]
    for number, ((init, seed), file) in enumerate(zip(tasks, files), 1):
        log.info("run %d of %d: %s, seed %d%s", number, len(tasks), INITS[init], seed, ", is done" * file.exists())
        if not file.exists():
            run = _train(replace(config, neocell_init=init, seed=seed), folder, f"{init}-{seed}")
            write_atomically(file, to_json({"init": init, "seed": seed, **run}, indent=1))
        runs.append(_read(file))
        missing = sum(not file.exists() for file in files)
        left = duration(missing * statistics.mean(run["seconds"] for run in runs))
        log.info("run %d of %d: %s; %s left", number, len(tasks), _outcome(runs[-1]), left)
    table = [_row(init, [run for run in runs if run["init"] == init]) for init in INITS]
    facts = {"folder": str(folder), "model": config.model, "dataset": config.dataset, "epochs": config.epochs}
    return {**facts, "runs": runs, "table": table}


def _read(file: Path) -> dict:
    """What was written of a run."""
    try:
        run = parse_json(read_regular(file))
        check_type(run["seconds"], float, "seconds")
        check_type(run["diverged"], str | None, "diverged")
        if run["init"] not in INITS or not run["curve"] and run["diverged"] is None:
            raise ValueError("it is of another ablation")
        for point in run["curve"]:
            for key in ("epoch", "loss", "accuracy"):
                check_type(point[key], float, key)
        return run
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{file} is damaged ({error}): remove it, and its run is made again") from None


def _keep_config(config: TrainConfig, folder: Path):
    """Write the configuration of a new ablation; compare it with that of one that goes on."""
    config = replace(config, output_dir=None, neocell_init="neo")
    path = folder / "config.yaml"
    if path.exists():
        earlier = TrainConfig.from_yaml(path)
        for name in (field.name for field in fields(config)):
            old, new = getattr(earlier, name), getattr(config, name)
            if old != new:
                raise UserError(
                    f"{folder} holds an ablation with {name}={old}, and now {name} is {new}: use its own settings "
                    f"(--config {path}), or choose another output_dir"
                )
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, config.to_yaml())


def _train(config: TrainConfig, folder: Path, name: str) -> dict:
    from neonext_ms.training.trainer import train

    run = folder / name
    begin = time.perf_counter()
    diverged, classes = None, None
    try:
        summary = train(replace(config, output_dir=str(run), resume="auto"))
        classes = summary["classes"]
    except DivergedError as error:
        diverged = str(error)
    gc.collect()  # the graphs of one run are large, and hold each other
    events = read_series(run / "metrics.jsonl")["eval"]
    curve = [{key: event[key] for key in ("epoch", "loss", "accuracy")} for _, event in sorted(events.items())]
    if diverged is None and curve[-1]["loss"] >= math.log(classes):
        diverged = f"its last validation loss, {curve[-1]['loss']:.2f}, is not below that of guessing"
    seconds = round(time.perf_counter() - begin, 1)
    return {"run": run.name, "diverged": diverged, "seconds": seconds, "curve": curve}


def _outcome(run: dict) -> str:
    return (
        f"diverged ({run['diverged']})" if run["diverged"] else f"accuracy {100 * run['curve'][-1]['accuracy']:.2f} %"
    )


def _row(init: str, runs: list[dict]) -> dict:
    curves = [run["curve"] for run in runs if not run["diverged"]]
    measures = {
        "accuracy": [curve[-1]["accuracy"] for curve in curves],
        "best_accuracy": [max(point["accuracy"] for point in curve) for curve in curves],
        "loss": [curve[-1]["loss"] for curve in curves],
    }
    row = {"init": init, "label": INITS[init], "runs": len(runs), "diverged": len(runs) - len(curves)}
    return row | {name: mean_and_spread(values) for name, values in measures.items()}


def mean_and_spread(values: list[float]) -> dict | None:
    """Mean and standard deviation of the sample (null for one value); None of nothing."""
    if not values:
        return None
    return {"mean": statistics.mean(values), "spread": statistics.stdev(values) if len(values) > 1 else None}
