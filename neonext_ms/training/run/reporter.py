"""What a run tells its user: lines of the log, one object an event in metrics.jsonl, and what trackers show."""

import logging
import math
import os
from dataclasses import asdict
from pathlib import Path

from neonext_ms.checkpoint.store import versions
from neonext_ms.terminal import LIVE
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.run.folder import RunFolder
from neonext_ms.training.run.progress import Progress, duration
from neonext_ms.training.run.trackers import Trackers
from neonext_ms.training.run.watch import Oddity

SLOW_LOADER = 0.3  # data-wait share from which the loader is called the bottleneck
FAR = 4  # an update of more than so many times the images that a rate is meant for, or of so many times fewer, is odd
SLOW_AFTER = 20  # steps; those before include the start of the workers

log = logging.getLogger(__name__)


class Reporter:
    """Reports for rank 0, which owns the run folder; on the other ranks it says nothing.

    Args:
        config: of the run.
        folder: whose metrics.jsonl gets the events; None on all ranks but the first.
        steps_an_epoch: of training.
        progress: how far the run is.
    """

    def __init__(self, config: TrainConfig, folder: RunFolder | None, steps_an_epoch: int, progress: Progress):
        self.config = config
        self.folder = folder
        self.steps_an_epoch = steps_an_epoch
        self.progress = progress
        self.trackers = Trackers(config.tracker_names, folder.path) if folder else None
        self._warned = False

    def start(self, job):
        """Before anything of a `Job` is compiled: what will run, and where."""
        if not self.folder:
            return
        self.trackers.start(asdict(self.config))
        config, ranks, world = self.config, job.ranks, job.ranks.world
        log.info(
            "%s, %.2f M parameters, on %d %s process%s; MindSpore %s",
            *(config.model, job.parameter_count / 1e6, world, ranks.device, "es" * (world > 1)),
            versions()["mindspore"],
        )
        log.info(
            "%s: %d training and %d validation images, %d classes, %d x %d pixels",
            *(config.dataset, len(job.loader.source), len(job.val_loader.source), len(job.loader.source.class_names)),
            *(config.image_size, config.image_size),
        )
        if job.pretrained:
            log.info("%s", job.pretrained)
        if job.teacher:
            log.info("%s", job.teacher.said)
        micro_batches = config.micro_batches(world)
        factors = [world, config.batch_size] + [micro_batches] * (micro_batches > 1)
        log.info(
            "global batch %d (%s), lr %.3g, %d steps an epoch, %d epochs",
            *(math.prod(factors), " x ".join(map(str, factors)), config.peak_lr(world)),
            *(self.steps_an_epoch, config.epochs),
        )
        log.info("run folder %s", self.folder.path)
        base, images = config.lr_base_batch, job.global_batch
        if base and not 1 / FAR <= images / base <= FAR:
            log.warning(
                "lr=%g is for updates of lr_base_batch=%d images; these of %d get %.3g: global_batch=%d would keep it, "
                "and lr_base_batch=null take it as it is",
                *(config.lr, base, images, config.peak_lr(world), base),
            )

    def compiled(self, seconds: float):
        """The graphs of training and evaluation are ready."""
        if self.folder:
            log.info("graphs compiled in %.1f s", seconds)
            self.folder.log("compile", seconds=round(seconds, 3))

    def resumed(self, checkpoint: Path | None):
        """The run goes on from a checkpoint, or None: from its beginning."""
        if not self.folder:
            return
        if checkpoint:
            log.info("going on from %s", checkpoint)
        self.folder.log("resume", checkpoint=checkpoint and checkpoint.name)

    def save_failed(self, error: OSError, then: str):
        """A checkpoint could not be written; the run goes on, and `then` says how."""
        log.warning("a checkpoint could not be written (%s): those before it are as they were, %s", error, then)
        self.folder.log("save_failed", reason=str(error))

    def oddity(self, step: int, oddity: Oddity, samples: list[str], update):
        """An update was out of the usual.

        Args:
            step: that the run has made with it.
            oddity: what it was.
            samples: of the global batch.
            update: the `StepMetrics`.
        """
        if not self.folder:
            return
        log.warning(
            "step %d: %s%s; its samples are in %s",
            *(step, oddity.what, ", the update is skipped" * oddity.skipped, self.folder.metrics),
        )
        event = "skipped" if oddity.skipped else "spike"
        numbers = {"loss": update.loss, "gradient_norm": update.gradient_norm}
        self.folder.log(event, step=step, reason=oddity.what, **numbers, samples=samples)

    def steps(self, epoch: int, i: int, step: int, metrics: dict):
        """Some steps were made.

        Args:
            epoch: 1-based.
            i: last step of the epoch that was made, 1-based.
            step: likewise, of the run.
            metrics: loss, accuracy, gradient_norm, skipped (updates that changed nothing), loss_scale, lr,
                images_per_second and data_wait since the last report.
        """
        if not self.folder:
            return
        log.info(
            "epoch %d/%d  step %d/%d  loss %.4f  accuracy %5.2f %%  lr %.2e  %.0f images/s  data wait %.0f %%  %s left",
            *(epoch, self.config.epochs, i, self.steps_an_epoch, metrics["loss"], 100 * metrics["accuracy"]),
            *(metrics["lr"], metrics["images_per_second"], 100 * metrics["data_wait"], self.progress.left),
            extra=LIVE,
        )
        self._log("train", epoch=epoch, step=step, **metrics)
        if self.progress.steps_done >= SLOW_AFTER and self.progress.data_wait > SLOW_LOADER and not self._warned:
            self._warned = True
            log.warning(
                "the loader is the bottleneck: the steps wait for data %.0f %% of their time; use more num_workers "
                "(%d now, %d CPU cores here), pack the data set (neonext pack), or store smaller images",
                *(100 * self.progress.data_wait, self.config.num_workers, os.cpu_count()),
            )

    def evaluation(self, result: dict, is_best: bool, seconds: float):
        """An evaluation was made; `result` holds epoch, step, loss, accuracy, images, and those of an EMA as ema_*."""
        if not self.folder:
            return
        ema = ""
        if "ema_loss" in result:
            ema = f", of the averaged weights {result['ema_loss']:.4f} and {100 * result['ema_accuracy']:.2f} %"
        log.info(
            "epoch %d/%d  validation loss %.4f  accuracy %.2f %%%s%s%s  (%.1f s)",
            *(result["epoch"], self.config.epochs, result["loss"], 100 * result["accuracy"]),
            *(_more(result), ema),
            *(", best so far" if is_best else "", seconds),
        )
        self._log("eval", **result, seconds=round(seconds, 3))

    def done(self, summary: dict, saved: bool):
        """The run is over, and its last checkpoint saved or not."""
        if not self.folder:
            return
        best = summary["best"]
        log.info(
            "done in %s: best accuracy %.2f %% (epoch %d), final %.2f %%, %.0f images/s in training, data wait %.0f %%",
            *(duration(summary["total_seconds"]), 100 * best["accuracy"], best["epoch"]),
            *(100 * summary["final"]["accuracy"], summary["images_per_second"], 100 * summary["data_wait"]),
        )
        if saved:
            log.info("best checkpoint: %s", self.folder.best)
        self.trackers.summary(summary)

    def close(self):
        """This process says nothing more, whether the run is over or not."""
        if self.trackers:
            self.trackers.end()

    def _log(self, event: str, **values):
        self.folder.log(event, **values)
        self.trackers.log(event, **values)


def _more(result: dict) -> str:
    """What an evaluation has beside loss and accuracy."""
    names = {"top5_accuracy": "top-5", "mAP": "mAP", "f1": "F1"}
    return "".join(f", {name} {100 * result[key]:.2f} %" for key, name in names.items() if key in result)
