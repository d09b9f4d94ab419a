"""A run's parts, put together by `assemble`."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np
from mindspore import nn

from neonext_ms.checkpoint.card import ModelCard
from neonext_ms.checkpoint.network import assign_weights, check_same
from neonext_ms.checkpoint.store import Checkpoint
from neonext_ms.data import Loader
from neonext_ms.evaluation.step import EvalStep
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training import consistency
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.run.resume import json_like
from neonext_ms.training.statistics import OF_RANKS, OfRanks
from neonext_ms.training.step import TrainStep
from neonext_ms.training.teacher import Teacher


@dataclass(frozen=True)
class Job:
    """The parts of a run on this rank, and what an update takes.

    Args:
        config: of the run, fitted to the number of ranks.
        ranks: of the job.
        loader, val_loader: of this rank's batches.
        network, train_step, eval_step: as they are before the first update, or as a checkpoint has left them.
        card: what checkpoints say of the model.
        data: what the data sets are, see `describe_data`.
        pretrained: what the weights begin with, in one line; None if they are freshly drawn, or a checkpoint's.
        pretrained_digest: SHA-256 of the weights that the run once began with, or None.
        teacher: that the run learns from, or None.
        masks: drop-path masks of (positions, step=), or None where nothing is dropped.
        rate: learning rate of a step.
    """

    config: TrainConfig
    ranks: Ranks
    loader: Loader
    val_loader: Loader
    network: nn.Cell
    train_step: TrainStep
    eval_step: EvalStep
    card: ModelCard
    data: dict
    pretrained: str | None
    pretrained_digest: str | None
    teacher: Teacher | None
    masks: Callable | None
    rate: Callable[[int], float]
    statistics: OfRanks = field(init=False)

    def __post_init__(self):
        statistics = OfRanks(self.network, self.train_step.update.ema, self.ranks)
        object.__setattr__(self, "statistics", statistics)

    @property
    def global_batch(self) -> int:
        """Images of an update, over all ranks."""
        return self.batch * self.ranks.world

    @property
    def batch(self) -> int:
        """Images of an update on this rank."""
        return self.config.batch_size * self.config.micro_batches(self.ranks.world)

    @property
    def parameter_count(self) -> int:
        """Numbers that are trained."""
        return sum(p.size for p in self.network.trainable_params())

    @property
    def identity(self) -> dict:
        """What a run that goes on must have again; part of its checkpoints."""
        return {
            "config": json_like(asdict(self.config)),
            "data": self.data,
            "global_batch": self.global_batch,
            "pretrained": self.pretrained_digest,
            "teacher": self.teacher and self.teacher.digest,
        }

    def inputs(self, images, targets, positions, step: int) -> tuple:
        """Of the train step, for a batch as the loader gives it and the number of updates made before."""
        masks = self.masks and self.masks(positions, step=step)
        if self.teacher and self.teacher.predict:
            targets = np.concatenate([targets, self.teacher.predict(images)], 1)
        return images, targets, masks, self.rate(step)

    def compile(self) -> float:
        """Compile both graphs before the clock of the steps starts; returns the seconds it took."""
        begin = time.perf_counter()
        count, size, classes = self.batch, self.config.image_size, len(self.loader.source.class_names)
        shape = count, self.card.preprocess.channels, size, size
        images, targets = np.zeros(shape, np.float32), np.zeros((count, classes), np.float32)
        self.train_step.compile(*self.inputs(images, targets, np.arange(count), 0))
        self.eval_step.compile(np.zeros((self.config.eval_batch_size, *images.shape[1:]), np.float32))
        return time.perf_counter() - begin

    def check_ranks(self, step: int, when: str):
        """Stop the job unless all ranks are alike; see `consistency.check_run`."""
        arrays = {p.name: p.asnumpy() for p in self.network.get_parameters()} | self.train_step.state()
        consistency.check_run(self.ranks, self.config, self.data, step, arrays, when)

    def restore(self, checkpoint: Checkpoint):
        """Set all parameters to those of a checkpoint.

        Raises:
            UserError: they do not fit; it names the first difference.
        """
        source, state = str(checkpoint.path), dict(checkpoint.state)
        gathered = state.pop(OF_RANKS, None)
        assign_weights(self.network, checkpoint.weights, source)
        check_same(self.train_step.state(), state, source, "the state of this training")
        self.train_step.load_state(state)
        self.check_ranks(checkpoint.manifest["step"], "at the start")
        self.statistics.restore(gathered)
        self.train_step.update.statistics.remember()
