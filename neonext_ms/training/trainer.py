"""A training run from its configuration, or from a checkpoint, to its summary."""

import json
import math
import os
import platform
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from neonext_ms.checkpoint.store import Checkpoint, versions
from neonext_ms.errors import DivergedError, Stopped, UnsavedError
from neonext_ms.evaluation.evaluate import evaluate
from neonext_ms.evaluation.loader import eval_loader
from neonext_ms.runtime import heartbeat
from neonext_ms.runtime.ranks import average_batch_statistics, join_ranks
from neonext_ms.training import consistency
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.drop_path import drop_path_masks, drop_path_rates
from neonext_ms.training.finetune import freeze_stages, load_pretrained
from neonext_ms.training.inputs import describe_data, open_sources, preprocess, train_loader
from neonext_ms.training.optim.schedule import learning_rate
from neonext_ms.training.run.folder import RunFolder, new_run_path
from neonext_ms.training.run.ledger import Interval, Updates
from neonext_ms.training.run.progress import Progress
from neonext_ms.training.run.reporter import Reporter
from neonext_ms.training.run.resume import find_resume, json_like, same_run
from neonext_ms.training.run.saver import Saver, copy_of, restore
from neonext_ms.training.run.signals import StopRequest
from neonext_ms.training.run.tensorboard import check_installed


def train(config: TrainConfig) -> dict:
    """Train, evaluate and checkpoint as configured; rank 0 writes the run folder and reports progress by logging.

    Returns:
        the summary, which is also written to summary.json.

    Raises:
        UserError: the configuration, the data or the machine do not allow the run.
        DivergedError: the loss is no longer a number.
        Stopped: a signal came; the run has saved a checkpoint.
        UnsavedError: the last checkpoint, or the summary, could not be written.
    """
    summary = _Run(config).run()
    heartbeat.done()
    return summary


class _Run:
    """The parts of one run, put together in `__init__` so that every mistake shows before the first step.

    `step` counts the updates made. Between two of them the run is what a checkpoint holds: parameters, `step`,
    `evaluated` (the step of the last evaluation), its result `final`, the `best` one, and `updates`.
    """

    def __init__(self, config: TrainConfig):
        self.started = time.perf_counter()
        self.stop = StopRequest(config.preempt_signal)
        if config.tensorboard:
            check_installed()
        train_source, val_source = open_sources(config)
        self.ranks = ranks = join_ranks(config.device)
        self.data = describe_data(train_source, val_source)
        run, checkpoint = find_resume(config)
        if checkpoint:
            config = same_run(config, ranks.world, checkpoint, self.data)
        self.config = config
        from neonext_ms.models import create_model
        from neonext_ms.models.layers import check_input_size
        from neonext_ms.training.assemble import check_device, make_steps

        check_device(config, ranks.device)
        self.micro_batches = config.micro_batches(ranks.world)
        self.global_batch = config.batch_size * self.micro_batches * ranks.world
        self.peak_lr = config.peak_lr(ranks.world)
        self.loader = train_loader(config, train_source, ranks)
        self.preprocess = preprocess(config, train_source)
        self.val_loader = eval_loader(
            val_source, self.preprocess, config.eval_batch_size, config.num_workers, ranks, config.max_bad_share
        )
        self.class_names = train_source.class_names
        # As it is found from any folder: checkpoints and exports take their images from it.
        self.data_dir = config.data_dir and str(Path(config.data_dir).expanduser().resolve())
        self.network = create_model(
            config.model,
            len(self.class_names),
            seed=config.seed,
            backend=config.backend,
            init=config.neocell_init,
            **config.model_overrides,
        )
        check_input_size(config.image_size, config.image_size, len(self.network.spec.dims))
        self.pretrained = None
        if config.pretrained and not checkpoint:
            self.pretrained = load_pretrained(self.network, Path(config.pretrained), self.class_names)
        freeze_stages(self.network, config.freeze_stages)
        depths = self.network.spec.depths
        frozen = sum(depths[: config.freeze_stages])
        self.drop_path_rates = drop_path_rates(config.drop_path_rate, sum(depths), frozen)
        self.train_step, self.eval_step = make_steps(config, self.network, ranks)
        self.total_steps = config.epochs * len(self.loader)
        self.step = self.evaluated = 0
        self.best = self.final = None
        self.updates = Updates(config, self.loader)
        self.seconds_before = 0.0
        if checkpoint:
            self._restore(checkpoint)
        self._check_ranks("at the start")
        self.folder = self._open_folder(run, checkpoint) if ranks.first else None
        left = range(self.step // len(self.loader) + 1, config.epochs + 1)
        self.progress = Progress(
            self.total_steps - self.step, sum(self._is_evaluated(epoch) for epoch in left), self.global_batch
        )
        self.reporter = Reporter(config, self.folder, len(self.loader), self.progress)
        self.saver = Saver(self.network, self.train_step, self.folder, ranks, self.reporter)
        if config.resume:
            self.reporter.resumed(checkpoint and checkpoint.path)

    def _restore(self, checkpoint: Checkpoint):
        restore(checkpoint, self.network, self.train_step)
        training = checkpoint.manifest["training"]
        self.step, self.evaluated = checkpoint.manifest["step"], training["evaluated"]
        self.best, self.final = training["best"], training["final"]
        self.updates.restore(training["updates"])
        self.seconds_before = training["seconds"]

    def _open_folder(self, run: Path | None, checkpoint: Checkpoint | None) -> RunFolder:
        config = self.config
        if run:
            folder = RunFolder(run, config.model, config.keep_checkpoint_max, resume=True)
        else:
            path = Path(config.output_dir) if config.output_dir else new_run_path(config.model, config.dataset)
            folder = RunFolder(path, config.model, config.keep_checkpoint_max)
            if checkpoint:
                folder.adopt(checkpoint.path.parent.parent)
        folder.rewind(self.step, self.evaluated == self.step)
        if not (folder.path / "config.yaml").exists():
            folder.write("config.yaml", config.to_yaml())
        return folder

    def run(self) -> dict:
        try:
            with self.stop:
                return self._run()
        finally:
            self.saver.wait()
            if self.folder:
                self.folder.close()

    def _run(self) -> dict:
        config = self.config
        images = (len(self.loader.source), len(self.val_loader.source))
        self.reporter.start(self.ranks, self._parameter_count, images, len(self.class_names), self.pretrained)
        is_finished = self.step == self.total_steps and not self._evaluation_is_due
        if is_finished and self.folder and (self.folder.path / "summary.json").exists():
            return json.loads((self.folder.path / "summary.json").read_text())
        compile_seconds = self._compile()
        while self.step < self.total_steps or self._evaluation_is_due:
            if self._evaluation_is_due:
                self._evaluate()
            else:
                self._train_epoch()
        failure = self.saver.finish()
        summary = {
            "model": config.model,
            "dataset": config.dataset,
            "run": str(self.folder.path) if self.folder else None,
            "classes": len(self.class_names),
            "parameters": self._parameter_count,
            "final": self.final,
            "best": self.best,
            "images_per_second": round(self.progress.images_per_second, 1),
            "data_wait": round(self.progress.data_wait, 4),
            "milliseconds_per_step": round(self.progress.milliseconds_per_step, 2),
            "compile_seconds": round(compile_seconds, 2),
            "total_seconds": round(self._seconds, 2),
            "device": self.ranks.device,
            "devices": self.ranks.world,
            "machine": {"cpu_cores": os.cpu_count(), "architecture": platform.machine(), "system": platform.system()},
            "versions": versions(),
        }
        if self.folder:
            try:
                self.folder.write("summary.json", json.dumps(summary, indent=1))
            except OSError as error:
                failure = failure or str(error)
        self.reporter.done(summary, saved=failure is None)
        if failure:
            raise self._unsaved("the run has come to its end", failure)
        return summary

    @property
    def _seconds(self) -> float:
        """That the run has taken, with those before it was resumed."""
        return self.seconds_before + time.perf_counter() - self.started

    @property
    def _epoch(self) -> int:
        """The epoch of the last update, 1-based."""
        return max(1, -(-self.step // len(self.loader)))

    @property
    def _evaluation_is_due(self) -> bool:
        at_end = self.step > 0 and self.step % len(self.loader) == 0
        return at_end and self._is_evaluated(self._epoch) and self.evaluated < self.step

    def _is_evaluated(self, epoch: int) -> bool:
        return epoch % self.config.val_interval == 0 or epoch == self.config.epochs

    @property
    def _parameter_count(self) -> int:
        return sum(p.size for p in self.network.trainable_params())

    def _compile(self) -> float:
        """Compile both graphs before the clock of the steps starts; returns the seconds it took."""
        begin = time.perf_counter()
        size = self.config.image_size
        images = np.zeros((self.config.batch_size * self.micro_batches, 3, size, size), np.float32)
        targets = np.zeros((len(images), len(self.class_names)), np.float32)
        self.train_step.compile(*self._step_inputs(images, targets, np.arange(len(images)), 0))
        count = self.config.eval_batch_size
        self.eval_step.compile(np.zeros((count, *images.shape[1:]), np.float32))
        seconds = time.perf_counter() - begin
        self.reporter.compiled(seconds)
        return seconds

    def _learning_rate(self, step: int) -> float:
        warmup = round(self.config.warmup_epochs * len(self.loader))
        return learning_rate(step, self.total_steps, warmup, self.peak_lr, self.config.min_lr)

    def _step_inputs(self, images, targets, positions, step: int) -> tuple:
        masks = None
        if self.config.drop_path_rate:
            masks = drop_path_masks(self.drop_path_rates, positions, self.config.seed, step)
        return images, targets, masks, self._learning_rate(step)

    def _train_epoch(self):
        """Updates up to the end of the epoch, from wherever the run is in it."""
        config = self.config
        epoch, first = divmod(self.step, len(self.loader))
        self.progress.begin()
        unreported = 0
        for batch in self.progress.waiting(self.loader.epoch(epoch, first)):
            inputs = self._step_inputs(batch.images, batch.targets, batch.positions, self.step)
            result = self.train_step(*inputs, self.updates.limit)
            self.step += 1
            unreported += 1
            heartbeat.beat(self.step)
            self.updates.add(self.step, result, self.reporter)
            i = self.step - epoch * len(self.loader)
            if i % config.log_interval == 0 or i == len(self.loader):
                self._report(i, unreported)
                unreported = 0
            self._save_or_stop()

    def _report(self, i: int, count: int):
        """Report the updates since the last time; `count` of them were made here and now."""
        begin = time.perf_counter()
        self.updates.wait()
        drain = time.perf_counter() - begin
        self.updates.read(self.reporter)
        rate, wait = self.progress.steps(count, drain)
        if self.updates.interval.updates:
            metrics = {
                **self.updates.interval.metrics(self.global_batch),
                "lr": self._learning_rate(self.step - 1),
                "images_per_second": round(rate, 1),
                "data_wait": round(wait, 4),
            }
            self.reporter.steps(self._epoch, i, self.step, metrics)
        self.updates.interval = Interval()

    def _save_or_stop(self):
        """Between two updates: save if it is time, and stop if a signal asks for it. All ranks decide alike."""
        config = self.config
        minutes_over = bool(config.save_minutes) and self.saver.seconds_since >= 60 * config.save_minutes
        stop, save = self._any_rank(self.stop.signal is not None, self.ranks.first and minutes_over)
        save = save or (config.save_steps and self.step % config.save_steps == 0)
        if stop or (save and not self._evaluation_is_due):  # which saves too
            self._save()
        if stop:
            self._end()

    def _any_rank(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is set on any rank; the same on all."""
        return [bool(count) for count in self.ranks.total(flags)]

    def _end(self):
        """Leave a run whose last update is saved."""
        what = (
            f"{self.stop.signal or 'a signal to another rank'} has stopped the run after update {self.step} of "
            f"{self.total_steps}"
        )
        if failure := self.saver.finish():
            raise self._unsaved(what, failure)
        raise Stopped(f"{what}, which is saved: go on with --resume {self._run_name}")

    def _unsaved(self, what: str, failure: str) -> UnsavedError:
        return UnsavedError(
            f"{what}, but this could not be written ({failure}): make room or mend the permissions, then --resume "
            f"{self._run_name} goes on from the newest checkpoint that is there"
        )

    @property
    def _run_name(self) -> str:
        return str(self.folder.path) if self.folder else "the run folder"

    def _save(self, best: dict[str, np.ndarray] | None = None):
        self._average_statistics()
        self.updates.read(self.reporter)
        meta = self._meta()
        if best is not None:
            metrics = {key: value for key, value in self.best.items() if key not in ("epoch", "step", "weights")}
            best = best, {**meta, "metrics": metrics, "weights": self.best["weights"]}
        self.saver.save(meta, best)

    def _check_ranks(self, when: str):
        arrays = {p.name: p.asnumpy() for p in self.network.get_parameters()} | self.train_step.state()
        consistency.check_run(self.ranks, self.config, self.data, self.step, arrays, when)

    def _evaluate(self):
        self._average_statistics()
        self._check_ranks(f"after epoch {self._epoch}")
        self.progress.begin()
        evaluated = {"raw": self._metrics_and_weights()}
        if self.train_step.update.ema is not None:
            with self.train_step.update.ema.in_place():
                evaluated["ema"] = self._metrics_and_weights()
        if None in evaluated.values():
            self._save()
            self._end()
        seconds = self.progress.evaluation()
        at = {"epoch": self._epoch, "step": self.step}
        result = {**at, **evaluated["raw"][0]}
        if "ema" in evaluated:
            result |= {f"ema_{key}": evaluated["ema"][0][key] for key in ("loss", "accuracy")}
        kind = min(evaluated, key=lambda name: _order(evaluated[name][0]))
        metrics, weights = evaluated[kind]
        is_best = self.best is None or _order(metrics) < _order(self.best)
        if is_best:
            self.best = {**at, **metrics, "weights": kind}
        self.final, self.evaluated = result, self.step
        self.reporter.evaluation(result, is_best, seconds)
        self._save(weights if is_best else None)

    def _average_statistics(self):
        """BatchNorm's, of the network and of the averaged weights, over the ranks."""
        average_batch_statistics(self.network, self.ranks)
        if self.train_step.update.ema is not None:
            self.train_step.update.ema.average_statistics(self.ranks)

    def _metrics_and_weights(self) -> tuple[dict, dict] | None:
        """Of the weights that the network has now; None if a signal asks to stop."""
        asked = self._any_rank
        metrics = evaluate(self.eval_step, self.val_loader, self.ranks, lambda: asked(self.stop.signal is not None)[0])
        if metrics is None:
            return None
        if not math.isfinite(metrics["loss"]):
            loss = metrics["loss"]
            raise DivergedError(
                f"the validation loss is {loss} after epoch {self._epoch}: use a lower lr or a longer warm-up"
            )
        return metrics, copy_of({p.name: p.asnumpy() for p in self.network.get_parameters()})

    def _meta(self) -> dict:
        """What a checkpoint says about itself."""
        config = self.config
        evaluated = self.final if self.evaluated == self.step else {}
        return {
            "model": {
                "name": config.model,
                "num_classes": len(self.class_names),
                "overrides": config.model_overrides,
            },
            "preprocess": self.preprocess.to_dict(),
            "class_names": self.class_names,
            "dataset": {"name": config.dataset, "data_dir": self.data_dir},
            "epoch": self._epoch,
            "step": self.step,
            "weights": "raw",
            "metrics": {key: value for key, value in evaluated.items() if key not in ("epoch", "step")},
            "training": {
                "config": json_like(asdict(config)),
                "data": self.data,
                "global_batch": self.global_batch,
                "evaluated": self.evaluated,
                "best": self.best,
                "final": self.final,
                "updates": self.updates.state(),
                "seconds": round(self._seconds, 3),
            },
        }


def _order(metrics: dict) -> tuple:
    """Smaller for better ones."""
    return -metrics["accuracy"], metrics["loss"]
