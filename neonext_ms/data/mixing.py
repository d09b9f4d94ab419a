"""Targets of a training batch: label smoothing, mixup (https://arxiv.org/abs/1710.09412) and cutmix (1905.04899)."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from neonext_ms.errors import UserError


@dataclass(frozen=True)
class Mixing:
    """Softens the labels of a batch and mixes its samples in pairs.

    Partners are the neighbours 2i and 2i + 1 of the global batch, so no rank needs another rank's pixels and the
    result is the same for any number of ranks. A pair is either blended (mixup), its weight drawn from
    Beta(mixup, mixup), or its images exchange a rectangle (cutmix), whose share of the area is drawn from
    Beta(cutmix, cutmix) and whose centre lies anywhere. Targets are mixed by the shares that the pixels then have.

    Args:
        mixup: parameter of mixup's Beta distribution; 0: no mixup.
        cutmix: parameter of cutmix's; 0: no cutmix.
        switch_prob: with both of them, the probability that a pair gets cutmix.
        label_smoothing: share of the target that is spread evenly over all classes, in [0, 1).
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    switch_prob: float = 0.5
    label_smoothing: float = 0.0

    def __post_init__(self):
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if not 0 <= self.switch_prob <= 1:
            raise UserError(f"mixup_switch_prob must be a probability, got {self.switch_prob}")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")

    @property
    def in_pairs(self) -> bool:
        """Whether batches must consist of whole pairs."""
        return bool(self.mixup or self.cutmix)

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, classes: int, rngs: Iterable[np.random.Generator]
    ) -> np.ndarray:
        """Mix the images in place and return the targets.

        Args:
            images: float32 (n, C, S, S), whole pairs of the global batch.
            labels: int (n,), or (n, K) of 0 and 1.
            classes: number of classes K.
            rngs: a generator for each pair.
        Returns: float32 (n, K); every row sums to 1 where every image has one class.
        """
        targets = one_hot(labels, classes) * np.float32(1 - self.label_smoothing)
        targets += np.float32(self.label_smoothing / classes)
        if self.in_pairs:
            for first, rng in zip(range(0, len(images), 2), rngs):
                pair = slice(first, first + 2)
                blend(targets[pair], self._mix(images[pair], rng))
        return targets

    def _mix(self, images: np.ndarray, rng: np.random.Generator) -> float:
        """Mix a pair in place; returns the share of its own pixels that each image keeps."""
        if not self.cutmix or (self.mixup and rng.random() >= self.switch_prob):
            share = rng.beta(self.mixup, self.mixup)
            blend(images, share)
            return share
        height, width = images.shape[2:]
        rows, columns = random_rectangle(height, width, 1 - rng.beta(self.cutmix, self.cutmix), rng)
        images[:, :, rows, columns] = images[::-1, :, rows, columns].copy()
        return 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)


def random_rectangle(height: int, width: int, share: float, rng: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of a rectangle of about this share of the area, as an image in small, cut off at the borders."""
    spans = []
    for side in (height, width):
        length = int(side * math.sqrt(share))
        centre = int(rng.integers(side))
        spans.append(slice(max(centre - length // 2, 0), min(centre + length // 2, side)))
    return tuple(spans)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """int (n,) or (n, K) -> float32 (n, K); a negative label, which marks padding, gives a row of zeros."""
    if labels.ndim == 2:
        return labels.astype(np.float32)
    return (labels[:, None] == np.arange(classes)).astype(np.float32)


def blend(pair: np.ndarray, share: float):
    """In place: (a, b) becomes (w a + (1 - w) b, w b + (1 - w) a) for w = share."""
    exchanged = pair[1] - pair[0]
    exchanged *= np.float32(1 - share)
    pair[0] += exchanged
    pair[1] -= exchanged
