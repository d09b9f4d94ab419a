"""A training run from its configuration to its summary."""

import json
import math
import os
import platform
import time
from pathlib import Path

import numpy as np

from neonext_ms.errors import DivergedError
from neonext_ms.training import distributed, heartbeat
from neonext_ms.training.checkpoint import versions
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.evaluation import evaluate
from neonext_ms.training.inputs import eval_loader, open_sources, preprocess, train_loader
from neonext_ms.training.progress import Progress
from neonext_ms.training.reporter import Reporter
from neonext_ms.training.run_folder import RunFolder, new_run_path
from neonext_ms.training.schedule import learning_rate
from neonext_ms.training.tensorboard import check_installed


def train(config: TrainConfig) -> dict:
    """Train, evaluate and checkpoint as configured; rank 0 writes the run folder and reports progress by logging.

    Returns:
        the summary, which is also written to summary.json.

    Raises:
        UserError: the configuration, the data or the machine do not allow the run.
        DivergedError: the loss is no longer a number.
    """
    summary = _Run(config).run()
    heartbeat.done()
    return summary


class _Run:
    """The parts of one run, put together in `__init__` so that every mistake shows before the first step."""

    def __init__(self, config: TrainConfig):
        self.started = time.perf_counter()
        self.config = config
        if config.tensorboard:
            check_installed()
        train_source, val_source = open_sources(config)
        self.ranks = ranks = distributed.start(config.device)
        from neonext_ms.models import create_model
        from neonext_ms.models.layers import check_input_size

        self.micro_batches = config.micro_batches(ranks.world)
        self.global_batch = config.batch_size * self.micro_batches * ranks.world
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
            drop_path_rate=config.drop_path_rate,
            backend=config.backend,
            init=config.neocell_init,
            **config.model_overrides,
        )
        check_input_size(config.image_size, config.image_size, len(self.network.spec.dims))
        distributed.check_same_weights(self.network, ranks)
        self._make_steps()
        self.total_steps = config.epochs * len(self.loader)
        self.best = None
        self.folder = None
        if ranks.first:
            path = Path(config.output_dir) if config.output_dir else new_run_path(config.model, config.dataset)
            self.folder = RunFolder(path, config.model, config.keep_checkpoint_max)
            self.folder.write("config.yaml", config.to_yaml())
        evaluations = sum(self._is_evaluated(epoch) for epoch in range(1, config.epochs + 1))
        self.progress = Progress(self.total_steps, evaluations, self.global_batch)
        self.reporter = Reporter(config, self.folder, len(self.loader), self.progress)

    def _make_steps(self):
        from neonext_ms.training.optimizer import SGD, AdamW
        from neonext_ms.training.step import EvalStep, TrainStep

        config, parameters = self.config, self.network.trainable_params()
        if config.optimizer == "adamw":
            optimizer = AdamW(parameters, config.weight_decay, config.beta1, config.beta2)
        else:
            optimizer = SGD(parameters, config.weight_decay, config.momentum)
        reducer = distributed.gradient_reducer(optimizer.parameters, self.ranks)
        self.train_step = TrainStep(
            self.network, optimizer, self.micro_batches, reducer, self.ranks.world, config.clip_grad
        )
        self.eval_step = EvalStep(self.network)

    def run(self) -> dict:
        config = self.config
        images = (len(self.loader.source), len(self.val_loader.source))
        self.reporter.start(self.ranks, self.micro_batches, self._parameter_count, images, len(self.class_names))
        compile_seconds = self._compile()
        for epoch in range(1, config.epochs + 1):
            self._train_epoch(epoch)
            if self._is_evaluated(epoch):
                final = self._evaluate_and_save(epoch)
        summary = {
            "model": config.model,
            "dataset": config.dataset,
            "run": str(self.folder.path) if self.folder else None,
            "classes": len(self.class_names),
            "parameters": self._parameter_count,
            "final": final,
            "best": self.best,
            "images_per_second": round(self.progress.images_per_second, 1),
            "data_wait": round(self.progress.data_wait, 4),
            "milliseconds_per_step": round(1000 * self.progress.step_seconds / self.progress.steps_done, 2),
            "compile_seconds": round(compile_seconds, 2),
            "total_seconds": round(time.perf_counter() - self.started, 2),
            "device": self.ranks.device,
            "devices": self.ranks.world,
            "machine": {"cpu_cores": os.cpu_count(), "architecture": platform.machine(), "system": platform.system()},
            "versions": versions(),
        }
        if self.folder:
            self.folder.write("summary.json", json.dumps(summary, indent=1))
        self.reporter.done(summary)
        return summary

    def _is_evaluated(self, epoch: int) -> bool:
        return epoch % self.config.val_interval == 0 or epoch == self.config.epochs

    @property
    def _parameter_count(self) -> int:
        return sum(p.size for p in self.network.trainable_params())

    def _compile(self) -> float:
        """Compile both graphs before the clock of the steps starts; returns the seconds it took."""
        from mindspore import Tensor

        begin = time.perf_counter()
        size = self.config.image_size
        images = np.zeros((self.config.batch_size * self.micro_batches, 3, size, size), np.float32)
        targets = np.zeros((len(images), len(self.class_names)), np.float32)
        self.train_step.compile(*self._step_inputs(images, targets, np.arange(len(images)), 0))
        count = self.config.eval_batch_size
        self.eval_step.set_train(False)
        self.eval_step.compile(
            Tensor(np.zeros((count, *images.shape[1:]), np.float32)),
            Tensor(np.zeros((count, targets.shape[1]), np.float32)),
        )
        seconds = time.perf_counter() - begin
        self.reporter.compiled(seconds)
        return seconds

    def _learning_rate(self, step: int) -> float:
        warmup = round(self.config.warmup_epochs * len(self.loader))
        return learning_rate(step, self.total_steps, warmup, self.config.lr, self.config.min_lr)

    def _step_inputs(self, images, targets, positions, step: int) -> tuple:
        from neonext_ms.models.drop_path import drop_path_masks

        masks = None
        if self.config.drop_path_rate:
            masks = drop_path_masks(self.network.drop_path_rates, positions, self.config.seed, step)
        return images, targets, masks, self._learning_rate(step)

    def _train_epoch(self, epoch: int):
        self.progress.begin()
        pending = []
        first = (epoch - 1) * len(self.loader)
        for i, batch in enumerate(self.progress.waiting(self.loader.epoch(epoch - 1)), 1):
            step = first + i - 1
            pending.append(self.train_step(*self._step_inputs(batch.images, batch.targets, batch.positions, step)))
            heartbeat.beat(step + 1)
            if i % self.config.log_interval == 0 or i == len(self.loader):
                # Reading results waits for the device, so it is done only where something is reported.
                self._report_steps(epoch, i, step + 1, pending)
                pending = []

    def _report_steps(self, epoch: int, i: int, step: int, results):
        from neonext_ms.training.step import StepMetrics

        begin = time.perf_counter()
        StepMetrics.read(results[-1])
        drain = time.perf_counter() - begin
        updates = [StepMetrics.read(result) for result in results]
        rate, wait = self.progress.steps(len(updates), drain)
        loss = float(np.mean([update.loss for update in updates]))
        if not math.isfinite(loss):
            raise DivergedError(
                f"the loss is {loss} at step {step} (epoch {epoch}): use a lower lr or a longer warm-up"
            )
        metrics = {
            "loss": loss,
            "accuracy": sum(update.correct for update in updates) / (len(updates) * self.global_batch),
            "gradient_norm": float(np.mean([update.gradient_norm for update in updates if update.finite] or [0.0])),
            "skipped": sum(not update.finite for update in updates),
            "lr": self._learning_rate(step - 1),
            "images_per_second": round(rate, 1),
            "data_wait": round(wait, 4),
        }
        self.reporter.steps(epoch, i, step, metrics)

    def _evaluate_and_save(self, epoch: int) -> dict:
        distributed.average_batch_statistics(self.network, self.ranks)
        distributed.check_same_weights(self.network, self.ranks)
        self.progress.begin()
        metrics = evaluate(self.eval_step, self.val_loader, self.ranks)
        seconds = self.progress.evaluation()
        if not math.isfinite(metrics["loss"]):
            loss = metrics["loss"]
            raise DivergedError(
                f"the validation loss is {loss} after epoch {epoch}: use a lower lr or a longer warm-up"
            )
        result = {"epoch": epoch, "step": epoch * len(self.loader), **metrics}
        is_best = self.best is None or (-result["accuracy"], result["loss"]) < (
            -self.best["accuracy"],
            self.best["loss"],
        )
        if is_best:
            self.best = result
        self.reporter.evaluation(result, is_best, seconds)
        if self.folder:
            weights = {p.name: p.asnumpy() for p in self.network.get_parameters()}
            self.folder.save(weights, {}, self._meta(result), best=weights if is_best else None)
        return result

    def _meta(self, result: dict) -> dict:
        """What a checkpoint says about itself."""
        config = self.config
        return {
            "model": {
                "name": config.model,
                "num_classes": len(self.class_names),
                "overrides": config.model_overrides,
            },
            "preprocess": self.preprocess.to_dict(),
            "class_names": self.class_names,
            "dataset": {"name": config.dataset, "data_dir": self.data_dir},
            "epoch": result["epoch"],
            "step": result["step"],
            "metrics": {key: result[key] for key in ("loss", "accuracy", "images")},
        }
