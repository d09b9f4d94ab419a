"""Which samples make up which batch, and how their pixels and targets come about."""

import warnings
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from neonext_ms.data.deep import ImageWarning
from neonext_ms.data.mixing import Mixing, one_hot
from neonext_ms.data.preprocess import Preprocess
from neonext_ms.data.seeding import MIXING, ORDER, REPLACEMENT, SAMPLE, generator
from neonext_ms.data.sources import Source
from neonext_ms.data.transforms import TrainTransform
from neonext_ms.errors import UserError

REPLACEMENTS = 100  # samples tried in the place of one that cannot be read


class Part(NamedTuple):
    """`count` samples of one rank's batch, from position `start` of it."""

    epoch: int
    step: int
    start: int
    count: int


class Filled(NamedTuple):
    """What became of a part.

    indices: int64 (n,), valid: bool (n,), as in Batch; bad: (index, why) of those unread; notes: of odd ones.
    """

    indices: np.ndarray
    valid: np.ndarray
    bad: list[tuple[int, str]]
    notes: list[str]


@dataclass(frozen=True)
class Plan:
    """See `Loader`, which explains the arguments. Every method is a pure function, in whichever process it runs."""

    source: Source
    transform: TrainTransform | Preprocess
    batch_size: int
    training: bool
    seed: int
    rank: int
    world: int
    mixing: Mixing | None
    aug_repeats: int
    class_balance: float = 0.0

    @property
    def global_batch(self) -> int:
        return self.batch_size * self.world

    @property
    def steps(self) -> int:
        """Steps of an epoch, the same on every rank."""
        full, rest = divmod(len(self.source), self.global_batch)
        return full + (rest > 0 and not self.training)

    @property
    def classes(self) -> int:
        return len(self.source.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, S, S) of a prepared image."""
        preprocess = getattr(self.transform, "preprocess", self.transform)
        return preprocess.channels, preprocess.image_size, preprocess.image_size

    def indices(self, epoch: int, step: int) -> np.ndarray:
        """Of the samples in one rank's batch: int64 (n,), -1 is padding."""
        first = self.rank * self.batch_size
        return self.batch_order(epoch, step)[0][first : first + self.batch_size]

    def fill(self, part: Part, indices: np.ndarray, images: np.ndarray, targets: np.ndarray) -> Filled:
        """Prepare the samples of a part.

        Args:
            part: start and count are even if samples are mixed in pairs.
            indices: of its samples, int64 (n,), from `indices`: the order of an epoch is large, and made in one place.
            images: float32 (n, C, S, S), all of it is written.
            targets: float32 (n, K), likewise.
        """
        positions = self.rank * self.batch_size + part.start + np.arange(part.count)
        _, repeats = self._places(part.step)
        repeats, indices = repeats[positions], indices.copy()
        valid = indices >= 0
        bad = []
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always", ImageWarning)
            for i, (index, repeat) in enumerate(zip(indices.tolist(), repeats.tolist())):
                if self.training:
                    indices[i] = self._train_sample(part.epoch, index, repeat, images[i], bad)
                else:
                    valid[i] = self._eval_sample(index, images[i], bad)
        labels = self.source.labels_of(indices, valid)
        if self.mixing is None:
            targets[:] = one_hot(labels, self.classes)
        else:
            first = int(positions[0]) // 2
            rngs = (generator(self.seed, MIXING, part.epoch, part.step, first + i) for i in range(part.count // 2))
            targets[:] = self.mixing(images, labels, self.classes, rngs)
        return Filled(indices, valid, bad, [str(note.message) for note in notes])

    def batch_order(self, epoch: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Index of the sample at each position of a global batch, -1 is padding, and the number of its repetition."""
        places, repeats = self._places(step)
        if not self.training:
            return np.where(places < len(self.source), places, -1), repeats
        if self.class_balance:
            return _balanced(self.seed, epoch, self.source, self.class_balance)[places], repeats
        return _permutation(self.seed, epoch, len(self.source))[places], repeats

    def _places(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Where in the order of an epoch the samples of a global batch stand, and the numbers of their repetition."""
        places = step * self.global_batch + np.arange(self.global_batch)
        if not self.training:
            return places, np.zeros_like(places)
        # All first repetitions, then all second ones...: partners in mixing, which are neighbours, must differ.
        places = places[np.argsort(places % self.aug_repeats, kind="stable")]
        # A sample may come any number of times where classes are balanced: its place tells one from another.
        return places // self.aug_repeats, places if self.class_balance else places % self.aug_repeats

    def _train_sample(self, epoch: int, index: int, repeat: int, out: np.ndarray, bad: list) -> int:
        """Write the augmented sample, or another one if it cannot be read; returns the index of the one written."""
        # the first repetition is the sample as it would be without repetitions
        position = (epoch, index, repeat) if repeat else (epoch, index)
        replacements = None
        for _ in range(1 + REPLACEMENTS):
            rng = generator(self.seed, SAMPLE, *position)
            choose = partial(self.transform.box, rng=rng)
            try:
                image, box = self.source.region(index, choose, self.transform.image_size)
            except UserError as error:
                bad.append((index, str(error)))
                replacements = replacements or generator(self.seed, REPLACEMENT, *position)
                index = int(replacements.integers(len(self.source)))
            else:
                self.transform.augment(image, box, rng, out)
                return index
        raise UserError(f"{self.source.name}: {len(bad)} samples in a row cannot be read, the last: {bad[-1][1]}")

    def _eval_sample(self, index: int, out: np.ndarray, bad: list) -> bool:
        """Write the sample, or zeros for padding and for one that cannot be read; returns whether it counts."""
        if index >= 0:
            try:
                out[:] = self.transform(self.source.image(index))
                return True
            except UserError as error:
                bad.append((index, str(error)))
        out[:] = 0
        return False


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return generator(seed, ORDER, epoch).permutation(count)


@lru_cache(maxsize=2)
def _balanced(seed: int, epoch: int, source: Source, balance: float) -> np.ndarray:
    """Order of an epoch in which a class of n samples comes in proportion to n ** (1 - balance).

    Of each class the samples come in turn, in the order of the usual permutation: none a second time before all of its
    class have come.
    """
    order = _permutation(seed, epoch, len(source))
    order = order[np.argsort(source.labels[order], kind="stable")]
    counts = np.bincount(source.labels, minlength=len(source.class_names))
    shares = np.where(counts > 0, counts.astype(np.float64) ** (1 - balance), 0)
    ends = np.rint(np.cumsum(shares) / shares.sum() * len(order)).astype(np.int64)
    drawn = [np.resize(part, n) for part, n in zip(np.split(order, np.cumsum(counts)[:-1]), np.diff(ends, prepend=0))]
    return generator(seed, ORDER, epoch, 1).permutation(np.concatenate(drawn))
