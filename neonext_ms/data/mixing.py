"""Targets of a training batch: label smoothing, and mixup of neighbours (https://arxiv.org/abs/1710.09412)."""

from dataclasses import dataclass

import numpy as np

from neonext_ms.errors import UserError


@dataclass(frozen=True)
class Mixing:
    """Softens the labels of a batch and, with mixup, blends its samples in pairs.

    Partners are the neighbours 2i and 2i + 1 of the global batch, so no rank needs another rank's pixels and the
    result is the same for any number of ranks. The weight of a pair is drawn from Beta(mixup, mixup).

    Args:
        mixup: parameter of the Beta distribution; 0 leaves the images as they are.
        label_smoothing: share of the target that is spread evenly over all classes, in [0, 1).
    """

    mixup: float = 0.0
    label_smoothing: float = 0.0

    def __post_init__(self):
        if not self.mixup >= 0:
            raise UserError(f"mixup must be 0 or more, got {self.mixup}")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")

    def check_batch(self, batch_size: int):
        """Raise UserError unless batches of this size, one rank's, consist of whole pairs."""
        if self.mixup and batch_size % 2:
            raise UserError(f"mixup blends neighbours, so batch_size must be even, got {batch_size}")

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, classes: int, first_pair: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Blend the images in place and return the targets.

        Args:
            images: float32 (n, 3, S, S), one rank's part of the global batch.
            labels: int (n,).
            classes: number of classes K.
            first_pair: where in the global batch this part begins, in pairs.
            rng: generator of the global batch; every rank draws the same weights from it and uses its own part.
        Returns: float32 (n, K); every row sums to 1.
        """
        targets = one_hot(labels, classes) * np.float32(1 - self.label_smoothing)
        targets += np.float32(self.label_smoothing / classes)
        if self.mixup:
            pairs = len(images) // 2
            weights = rng.beta(self.mixup, self.mixup, first_pair + pairs)[first_pair:].astype(np.float32)
            blend_neighbours(images, weights)
            blend_neighbours(targets, weights)
        return targets


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """int (n,) -> float32 (n, K); a negative label, which marks padding, gives a row of zeros."""
    return (labels[:, None] == np.arange(classes)).astype(np.float32)


def blend_neighbours(values: np.ndarray, weights: np.ndarray):
    """In place, for w in weights (n / 2,): a pair (a, b) becomes (w a + (1 - w) b, w b + (1 - w) a)."""
    first, second = values[0::2], values[1::2]
    exchanged = (second - first) * (1 - weights).reshape(-1, *[1] * (values.ndim - 1))
    first += exchanged
    second -= exchanged
