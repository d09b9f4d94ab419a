"""What a run tells its user: lines of the log, and one object an event in metrics.jsonl."""

import logging

from neonext_ms.training.checkpoint import versions
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.progress import Progress, duration
from neonext_ms.training.run_folder import RunFolder

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

    def start(self, ranks, parameters: int, images: tuple[int, int], classes: int):
        """Before anything is compiled: what will run, and where.

        Args:
            ranks: of the job.
            parameters: how many are trained.
            images: in the training and in the validation split.
            classes: of the data set.
        """
        if not self.folder:
            return
        config, world = self.config, ranks.world
        log.info(
            "%s, %.2f M parameters, on %d %s process%s; MindSpore %s",
            *(config.model, parameters / 1e6, world, ranks.device, "es" * (world > 1), versions()["mindspore"]),
        )
        log.info(
            "%s: %d training and %d validation images, %d classes, %d x %d pixels",
            *(config.dataset, *images, classes, config.image_size, config.image_size),
        )
        log.info(
            "global batch %d (%d x %d), %d steps an epoch, %d epochs; run folder %s",
            *(config.batch_size * world, world, config.batch_size),
            *(self.steps_an_epoch, config.epochs, self.folder.path),
        )

    def compiled(self, seconds: float):
        """The graphs of training and evaluation are ready."""
        if self.folder:
            log.info("graphs compiled in %.1f s", seconds)
            self.folder.log("compile", seconds=round(seconds, 3))

    def steps(self, epoch: int, i: int, step: int, metrics: dict):
        """Some steps were made.

        Args:
            epoch: 1-based.
            i: last step of the epoch that was made, 1-based.
            step: likewise, of the run.
            metrics: loss, accuracy, lr and images_per_second since the last report.
        """
        if not self.folder:
            return
        log.info(
            "epoch %d/%d  step %d/%d  loss %.4f  accuracy %5.2f %%  lr %.2e  %.0f images/s  %s left",
            *(epoch, self.config.epochs, i, self.steps_an_epoch, metrics["loss"], 100 * metrics["accuracy"]),
            *(metrics["lr"], metrics["images_per_second"], self.progress.left),
        )
        self.folder.log("train", epoch=epoch, step=step, **metrics)

    def evaluation(self, result: dict, is_best: bool, seconds: float):
        """An evaluation was made; `result` holds epoch, step, loss, accuracy and images."""
        if not self.folder:
            return
        log.info(
            "epoch %d/%d  validation loss %.4f  accuracy %.2f %% of %d images%s  (%.1f s)",
            *(result["epoch"], self.config.epochs, result["loss"], 100 * result["accuracy"], result["images"]),
            *(", best so far" if is_best else "", seconds),
        )
        self.folder.log("eval", **result, seconds=round(seconds, 3))

    def done(self, summary: dict):
        """The run is over and its summary written."""
        if not self.folder:
            return
        best = summary["best"]
        log.info(
            "done in %s: best accuracy %.2f %% (epoch %d), final %.2f %%, %.0f images/s in training",
            *(duration(summary["total_seconds"]), 100 * best["accuracy"], best["epoch"]),
            *(100 * summary["final"]["accuracy"], summary["images_per_second"]),
        )
        log.info("best checkpoint: %s", self.folder.best)
