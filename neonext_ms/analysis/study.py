"""A study: variants of a configuration, each trained with several seeds. Runs are independent and made once."""

import gc
import logging
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from neonext_ms.analysis.plots import read_series
from neonext_ms.checkpoint.fields import check_type, parse_json
from neonext_ms.errors import DivergedError, UserError
from neonext_ms.files import read_regular, write_atomically
from neonext_ms.texts import to_json
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.inputs import open_sources, preprocess
from neonext_ms.training.run.progress import duration
from neonext_ms.training.run.resume import json_like

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Study:
    """What is compared.

    Args:
        config: of all runs, with the first seed; output_dir is the folder of all.
        variants: configurations by name, which differ from `config` in some keys.
        labels: what each is called where people read it.

    Raises:
        UserError: config goes on with a run of its own.
    """

    config: TrainConfig
    variants: dict[str, TrainConfig]
    labels: dict[str, str]

    def __post_init__(self):
        if self.config.resume is not None:
            raise UserError(
                f"an ablation goes on with what is in its output_dir: leave out resume={self.config.resume}"
            )

    @property
    def folder(self) -> Path:
        return Path(self.config.output_dir)

    def file(self, name: str, seed: int) -> Path:
        """That tells of a run once it is done."""
        return self.folder / f"{name}-{seed}.json"

    def settings(self, name: str) -> dict:
        """What a variant has otherwise, as it comes back from JSON."""
        base, own = asdict(self.config), asdict(self.variants[name])
        return json_like({key: value for key, value in own.items() if value != base[key]})


def run_study(study: Study, seeds: int, only: Sequence[str] = ()) -> dict:
    """Train every variant with the seeds config.seed, config.seed + 1, ...; runs that are done are kept.

    A run diverged if its loss stopped being a number, or if its last validation loss is not below that of guessing,
    ln(classes). It is counted, and the others go on. One that was interrupted goes on from its last checkpoint.
    Several processes may share a folder if each has variants of its own.

    Args:
        study: what to compare.
        seeds: how many.
        only: variants to train now; none for all. The result is of all runs that are done.

    Returns:
        folder, model, dataset, epochs; runs (variant, seed, run, diverged: null or why, seconds, cpu_seconds: the
        processor's time, null of a run that was interrupted, settings, parameters, macs: of one image, NeoCells
        patch-wise, curve: epoch, loss and accuracy of each evaluation); table: for each variant with runs its label,
        runs, diverged, and mean and spread (standard deviation of the sample) of accuracy and loss over the runs that
        did not diverge, null if none.

    Raises:
        UserError: the folder holds an ablation with another configuration, or a run cannot be made.
    """
    if seeds < 1:
        raise UserError(f"seeds must be at least 1, got {seeds}")
    if unknown := [name for name in only if name not in study.variants]:
        raise UserError(f"the study has no variant {unknown[0]!r}: it has {', '.join(study.variants)}")
    _keep_config(study.config, study.folder)
    wanted = [(name, study.config.seed + i) for i in range(seeds) for name in study.variants]
    tasks = [task for task in wanted if task[0] in (only or study.variants)]
    runs = {}
    for number, task in enumerate(tasks, 1):
        done = study.file(*task).exists()
        log.info("run %d of %d: %s, seed %d%s", number, len(tasks), study.labels[task[0]], task[1], ", is done" * done)
        if not done:
            _make(study, *task)
        runs[task] = _read(study, *task)
        missing = sum(not study.file(*task).exists() for task in tasks)
        left = duration(missing * statistics.mean(run["seconds"] for run in runs.values()))
        log.info("run %d of %d: %s; %s left", number, len(tasks), _outcome(runs[task]), left)
    for task in wanted:
        if task not in runs and study.file(*task).exists():
            runs[task] = _read(study, *task)
    found = [runs[task] for task in wanted if task in runs]
    of_each = {name: [run for run in found if run["variant"] == name] for name in study.variants}
    table = [_row(study, name, own) for name, own in of_each.items() if own]
    config = study.config
    facts = {"folder": str(study.folder), "model": config.model, "dataset": config.dataset, "epochs": config.epochs}
    return {**facts, "runs": found, "table": table}


def _read(study: Study, name: str, seed: int) -> dict:
    """What was written of a run."""
    file, settings = study.file(name, seed), study.settings(name)
    try:
        run = parse_json(read_regular(file))
        check_type(run["seconds"], float, "seconds")
        check_type(run.get("cpu_seconds"), float | None, "cpu_seconds")
        check_type(run["diverged"], str | None, "diverged")
        run.setdefault("variant", run.pop("init", None))  # as older ablations name it
        if run["variant"] != name or not run["curve"] and run["diverged"] is None:
            raise ValueError("it is of another ablation")
        for point in run["curve"]:
            for key in ("epoch", "loss", "accuracy"):
                check_type(point[key], float, key)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{file} is damaged ({error}): remove it, and its run is made again") from None
    run = {"cpu_seconds": None, "settings": settings} | ({} if "macs" in run else _cost(study.variants[name])) | run
    if run["settings"] != settings:
        raise UserError(
            f"{file} is of a run with {run['settings']}, and {name} is {settings} now: give the variant another name, "
            "or choose another output_dir"
        )
    return run


def _keep_config(config: TrainConfig, folder: Path):
    """Write the configuration of a new ablation; compare it with that of one that goes on."""
    config = replace(config, output_dir=None)
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


def _make(study: Study, name: str, seed: int):
    """Train a run that is not done, and write what is to be known of it."""
    from neonext_ms.training.trainer import train

    folder = study.folder / f"{name}-{seed}"
    goes_on = (folder / "metrics.jsonl").exists()
    begin, begin_cpu = time.perf_counter(), time.process_time()
    diverged, classes = None, None
    try:
        config = replace(study.variants[name], seed=seed, output_dir=str(folder), resume="auto")
        classes = train(config)["classes"]
    except DivergedError as error:
        diverged = str(error)
    gc.collect()  # the graphs of one run are large, and hold each other
    events = read_series(folder / "metrics.jsonl")["eval"]
    curve = [{key: event[key] for key in ("epoch", "loss", "accuracy")} for _, event in sorted(events.items())]
    if diverged is None and curve[-1]["loss"] >= math.log(classes):
        diverged = f"its last validation loss, {curve[-1]['loss']:.2f}, is not below that of guessing"
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - begin_cpu
    run = {
        "variant": name,
        "seed": seed,
        "run": folder.name,
        "diverged": diverged,
        "seconds": round(seconds, 1),
        "cpu_seconds": None if goes_on else round(cpu_seconds, 1),
        "settings": study.settings(name),
        **_cost(study.variants[name]),
        "curve": curve,
    }
    write_atomically(study.file(name, seed), to_json(run, indent=1))


def _cost(config: TrainConfig) -> dict:
    """Parameters and multiply-accumulates of a configuration's network for one image."""
    from neonext_ms.analysis.profile import Cost, layer_costs
    from neonext_ms.models.registry import model_spec

    source, side = open_sources(config)[0], config.image_size
    overrides = config.model_overrides | {"in_chans": preprocess(config, source).channels}
    costs = layer_costs(model_spec(config.model, **overrides), side, side, len(source.class_names))
    cost = sum(costs.values(), Cost())
    return {"parameters": cost.parameters, "macs": cost.macs_patchwise}


def _outcome(run: dict) -> str:
    return (
        f"diverged ({run['diverged']})" if run["diverged"] else f"accuracy {100 * run['curve'][-1]['accuracy']:.2f} %"
    )


def _row(study: Study, name: str, runs: list[dict]) -> dict:
    curves = [run["curve"] for run in runs if not run["diverged"]]
    measures = {
        "accuracy": [curve[-1]["accuracy"] for curve in curves],
        "loss": [curve[-1]["loss"] for curve in curves],
    }
    row = {"variant": name, "label": study.labels[name], "runs": len(runs), "diverged": len(runs) - len(curves)}
    return row | {measure: mean_and_spread(values) for measure, values in measures.items()}


def mean_and_spread(values: list[float]) -> dict | None:
    """Mean and standard deviation of the sample (null for one value); None of nothing."""
    if not values:
        return None
    return {"mean": statistics.mean(values), "spread": statistics.stdev(values) if len(values) > 1 else None}
