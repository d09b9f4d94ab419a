"""Batches of a data set: which samples, in which order, for which rank."""

import logging
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from neonext_ms.data.mixing import Mixing
from neonext_ms.data.plan import Filled, Part, Plan
from neonext_ms.data.preprocess import Preprocess
from neonext_ms.data.sources import Source
from neonext_ms.data.transforms import TrainTransform
from neonext_ms.data.workers import Workers
from neonext_ms.errors import UserError

BATCHES_AHEAD = 2  # that workers prepare while one is used
MOST_PARTS = 64  # of a batch; those of all batches ahead must fit into a socket's buffer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """One rank's part of a global batch; n is always the loader's batch_size.

    Padding, and in evaluation a sample that cannot be read, has valid False, label -1, and zeros for image and target;
    the index of padding is -1.
    """

    images: np.ndarray  # float32 (n, C, S, S)
    labels: np.ndarray  # int32 (n,), before mixing; (n, K) of 0 and 1 where an image has any number of classes
    targets: np.ndarray  # float32 (n, K); rows sum to 1 where an image has one class
    indices: np.ndarray  # int64 (n,), of the samples in the source
    positions: np.ndarray  # int64 (n,), in the global batch
    valid: np.ndarray  # bool (n,)


class Loader:
    """Reads a source in batches, the same for any number of workers and, put together, for any number of ranks.

    Training: the samples are permuted by (seed, epoch); global batch s is the s-th slice of batch_size * world
    of them, of which each rank takes its contiguous part. What is left over at the end of the epoch is dropped.
    The random numbers of a sample depend on (seed, epoch, index), those of mixing on (seed, epoch, step, pair).

    Evaluation: the samples come in order, each exactly once over all ranks; the last global batch is padded, so that
    every rank makes the same number of steps with batches of the same shape.

    A sample that cannot be read is named once in a warning. In training another one, drawn from (seed, epoch, index),
    takes its place; evaluation leaves it out. The number of steps stays the same.

    Args:
        source: the data set.
        transform: TrainTransform in training, Preprocess in evaluation.
        batch_size: samples a step of one rank.
        training: see above.
        seed: of order, augmentation and mixing; 0 or more.
        rank, world: which of how many ranks this loader serves.
        num_workers: processes that prepare batches ahead; 0: the caller does it.
        mixing: how targets are made in training; without it, and in evaluation, they are one-hot.
        aug_repeats: how often a sample comes in a global batch of training, each time augmented in another way; an
            epoch has as many steps as without, and shows as many samples fewer (https://arxiv.org/abs/1901.09335).
        class_balance: in training, of uneven classes: one of n samples comes in proportion to n ** (1 - class_balance),
            so 1 shows all of them as often; the length of an epoch stays.
        max_bad_share: of the samples; when more cannot be read, the epoch ends with a UserError.
    Raises: UserError on arguments that do not fit together or do not fit the data set.
    """

    def __init__(
        self,
        source: Source,
        transform: TrainTransform | Preprocess,
        batch_size: int,
        *,
        training: bool,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        num_workers: int = 0,
        mixing: Mixing | None = None,
        aug_repeats: int = 1,
        class_balance: float = 0.0,
        max_bad_share: float = 0.0,
    ):
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("seed", seed, 0),
            ("world", world, 1),
            ("num_workers", num_workers, 0),
            ("aug_repeats", aug_repeats, 1),
        ):
            if value < least:
                raise UserError(f"{name} must be {least} or more, got {value}")
        if num_workers and not hasattr(os, "memfd_create"):
            raise UserError(f"worker processes need Linux: use num_workers=0 here, got {num_workers}")
        if not 0 <= rank < world:
            raise UserError(f"rank must be in 0..{world - 1} for world {world}, got {rank}")
        if not 0 <= max_bad_share < 1:
            raise UserError(f"max_bad_share must be at least 0 and below 1, got {max_bad_share}")
        if training and batch_size * world > len(source):
            raise UserError(
                f"a global batch of {batch_size * world} samples (batch_size {batch_size} x {world} ranks) is larger "
                f"than {source.name} with {len(source)}: use a batch_size of at most {len(source) // world}"
            )
        if class_balance and source.multi_label:
            raise UserError(f"class_balance needs images of one class each, {source.name} has several: use 0")
        if not training and (mixing is not None or aug_repeats > 1):
            raise UserError("mixing and aug_repeats apply to training only: evaluate without them")
        if mixing is not None and mixing.in_pairs and batch_size % 2:
            raise UserError(f"mixup and cutmix mix neighbours, so batch_size must be even, got {batch_size}")
        self.source = source
        self.num_workers = num_workers
        self.max_bad_share = max_bad_share
        self.bad = set()  # indices of the samples that could not be read so far
        drawn = mixing, aug_repeats, class_balance
        self._plan = Plan(source, transform, batch_size, training, seed, rank, world, *drawn)
        self._workers = None
        self._noted = False

    def __len__(self) -> int:
        """Steps of an epoch, the same on every rank."""
        return self._plan.steps

    def epoch(self, epoch: int = 0, first_step: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from a step on, at no cost for those before it.

        What a worker raises is raised here. The workers stay for the next epoch, unless the loop is left early.
        """
        steps = range(first_step, len(self))
        if self.num_workers == 0:
            for step in steps:
                part = Part(epoch, step, 0, self._plan.batch_size)
                images = np.empty((part.count, *self._plan.image_shape), np.float32)
                targets = np.empty((part.count, self._plan.classes), np.float32)
                indices = self._plan.indices(epoch, step)
                yield self._batch(images, targets, [self._plan.fill(part, indices, images, targets)])
            return
        self._workers = self._workers or Workers(self._plan, self.num_workers)
        done = False
        try:
            yield from self._epoch_of_workers(epoch, steps)
            done = True
        finally:
            if not done:
                self.close()

    def samples(self, epoch: int, step: int) -> list[str]:
        """Where the samples of a global batch come from, those of all ranks, for messages."""
        indices, _ = self._plan.batch_order(epoch, step)
        return [self.source.describe(index) for index in indices.tolist() if index >= 0]

    def close(self):
        """End the workers; the next epoch starts new ones. They also end with this object."""
        if self._workers:
            self._workers.close()
            self._workers = None

    def _epoch_of_workers(self, epoch: int, steps: range) -> Iterator[Batch]:
        workers, size = self._workers, self._plan.batch_size
        count = -(-size // min(2 * self.num_workers, MOST_PARTS))
        count += count % 2  # pairs stay together
        ahead = deque()
        filled = {step: {} for step in steps}
        for step in [*steps, *[None] * BATCHES_AHEAD]:
            if step is not None:
                slot, indices, images, targets = workers.memory.take()
                indices[:] = self._plan.indices(epoch, step)
                parts = [Part(epoch, step, start, min(count, size - start)) for start in range(0, size, count)]
                ahead.append((step, images, targets, parts))
                for part in parts:
                    workers.submit(slot, part)
                del indices, images, targets
                if len(ahead) <= BATCHES_AHEAD:
                    continue
            if ahead:
                step, images, targets, parts = ahead.popleft()
                while len(filled[step]) < len(parts):
                    for part, outcome in workers.next_results():
                        filled[part.step][part.start] = outcome
                outcomes = [filled[step][part.start] for part in parts]
                for error in (outcome for outcome in outcomes if isinstance(outcome, Exception)):
                    raise error  # in its turn: the batches before are complete, whichever worker was faster
                del filled[step]
                yield self._batch(images, targets, outcomes)
                del images, targets

    def _batch(self, images: np.ndarray, targets: np.ndarray, parts: list[Filled]) -> Batch:
        for part in parts:
            for index, why in part.bad:
                self._report(index, why)
            if part.notes and not self._noted:
                self._noted = True
                log.warning("%s (others like it are not named)", part.notes[0])
        indices = np.concatenate([part.indices for part in parts])
        valid = np.concatenate([part.valid for part in parts])
        labels = self.source.labels_of(indices, valid)
        positions = self._plan.rank * self._plan.batch_size + np.arange(len(indices), dtype=np.int64)
        return Batch(images, labels, targets, indices, positions, valid)

    def _report(self, index: int, why: str):
        if index in self.bad:
            return
        self.bad.add(index)
        count, total = len(self.bad), len(self.source)
        if count / total > self.max_bad_share:  # not the product, which makes 29 of 100 more than 0.29
            raise UserError(
                f"{count} of the {total} samples of {self.source.name} cannot be read, more than "
                f"max_bad_share={self.max_bad_share} allows: replace them, or allow more; the last: {why}"
            )
        instead = "another sample takes its place" if self._plan.training else "it is left out"
        log.warning("%s; %s (%d of %d are bad so far)", why, instead, count, total)
