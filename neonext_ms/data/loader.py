"""Batches of a data set: which samples, in which order, for which rank."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from neonext_ms.data.mixing import Mixing, one_hot
from neonext_ms.data.seeding import MIXING, ORDER, SAMPLE, generator
from neonext_ms.data.sources import Source
from neonext_ms.data.transforms import Preprocess, TrainTransform
from neonext_ms.errors import UserError

BATCHES_AHEAD = 2  # per worker


@dataclass(frozen=True)
class Batch:
    """One rank's part of a global batch; n is always the loader's batch_size.

    Padding (evaluation only) has valid False, label and index -1, and zeros for image and target.
    """

    images: np.ndarray  # float32 (n, 3, S, S)
    labels: np.ndarray  # int32 (n,), before mixing
    targets: np.ndarray  # float32 (n, K), rows sum to 1
    indices: np.ndarray  # int64 (n,), of the samples in the source
    positions: np.ndarray  # int64 (n,), in the global batch
    valid: np.ndarray  # bool (n,)


class Loader:
    """Reads a source in batches, the same for any number of workers and, put together, for any number of ranks.

    Training: the samples are permuted by (seed, epoch); global batch s is the s-th slice of batch_size * world
    of them, of which each rank takes its contiguous part. What is left over at the end of the epoch is dropped.
    The random numbers of a sample depend on (seed, epoch, index), those of mixing on (seed, epoch, step).

    Evaluation: the samples come in order, each exactly once over all ranks; the last global batch is padded, so that
    every rank makes the same number of steps with batches of the same shape.

    Args:
        source: the data set.
        transform: TrainTransform in training, Preprocess in evaluation.
        batch_size: samples a step of one rank.
        training: see above.
        seed: of order, augmentation and mixing; 0 or more.
        rank, world: which of how many ranks this loader serves.
        num_workers: threads that prepare batches ahead (decoding and resizing run in parallel); 0: the caller does it.
        mixing: how targets are made in training; without it, and in evaluation, they are one-hot.
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
    ):
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("seed", seed, 0),
            ("world", world, 1),
            ("num_workers", num_workers, 0),
        ):
            if value < least:
                raise UserError(f"{name} must be {least} or more, got {value}")
        if not 0 <= rank < world:
            raise UserError(f"rank must be in 0..{world - 1} for world {world}, got {rank}")
        if training and batch_size * world > len(source):
            raise UserError(
                f"a global batch of {batch_size * world} samples (batch_size {batch_size} x {world} ranks) is larger "
                f"than {source.name} with {len(source)}: use a batch_size of at most {len(source) // world}"
            )
        if mixing is not None:
            if not training:
                raise UserError("mixing applies to training only: evaluate without it")
            mixing.check_batch(batch_size)
        self.source = source
        self.transform = transform
        self.batch_size = batch_size
        self.training = training
        self.seed = seed
        self.rank = rank
        self.world = world
        self.num_workers = num_workers
        self.mixing = mixing

    def __len__(self) -> int:
        """Steps of an epoch, the same on every rank."""
        full, rest = divmod(len(self.source), self.batch_size * self.world)
        return full + (rest > 0 and not self.training)

    def epoch(self, epoch: int = 0) -> Iterator[Batch]:
        """The batches of one epoch. What a worker raises is raised here; leaving the loop early stops the workers."""
        order = self._order(epoch)
        if self.num_workers == 0:
            for step in range(len(self)):
                yield self._batch(order, epoch, step)
            return
        ahead = deque()
        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="loader")
        try:
            for step in range(len(self)):
                ahead.append(pool.submit(self._batch, order, epoch, step))
                if len(ahead) > BATCHES_AHEAD * self.num_workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _order(self, epoch: int) -> np.ndarray:
        """Index of the sample at each place of the epoch; -1 is padding. int64, whole global batches."""
        count = len(self) * self.batch_size * self.world
        if self.training:
            return generator(self.seed, ORDER, epoch).permutation(len(self.source))[:count]
        return np.pad(np.arange(len(self.source)), (0, count - len(self.source)), constant_values=-1)

    def _batch(self, order: np.ndarray, epoch: int, step: int) -> Batch:
        positions = np.arange(self.batch_size, dtype=np.int64) + self.rank * self.batch_size
        indices = order[step * self.batch_size * self.world + positions]
        valid = indices >= 0
        side = self.transform.image_size
        images = np.zeros((self.batch_size, 3, side, side), np.float32)
        for i in np.flatnonzero(valid):
            images[i] = self._sample(epoch, int(indices[i]))
        labels = np.where(valid, self.source.labels[indices], -1).astype(np.int32)
        classes = len(self.source.class_names)
        if self.mixing is None:
            targets = one_hot(labels, classes)
        else:
            rng = generator(self.seed, MIXING, epoch, step)
            targets = self.mixing(images, labels, classes, positions[0] // 2, rng)
        return Batch(images, labels, targets, indices, positions, valid)

    def _sample(self, epoch: int, index: int) -> np.ndarray:
        image = self.source.image(index)
        if self.training:
            return self.transform(image, generator(self.seed, SAMPLE, epoch, index))
        return self.transform(image)
