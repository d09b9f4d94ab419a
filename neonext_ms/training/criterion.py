"""Losses of training, inside the graph."""

import math

import numpy as np
from mindspore import Tensor, nn, ops

from neonext_ms.evaluation.step import soft_cross_entropy


class CrossEntropy(nn.Cell):
    """Of images that have one class each.

    Args:
        weights: (K,) factor of each class in the loss, or None for 1.

    Inputs:
        logits: (n, K).
        targets: float32 (n, K); rows sum to 1.

    Outputs:
        float32 (n,), a loss an image.
    """

    def __init__(self, weights: np.ndarray | None = None):
        super().__init__(auto_prefix=False)
        self.weights = None if weights is None else Tensor(weights.astype(np.float32))

    def construct(self, logits, targets):
        return soft_cross_entropy(logits, targets if self.weights is None else targets * self.weights)

    def right(self, logits, targets):
        """bool (n,): whether the largest logit is the largest target."""
        return ops.argmax(logits, -1) == ops.argmax(targets, -1)


class BinaryCrossEntropy(nn.Cell):
    """Of classes that are asked for one by one: the mean over them of the cross-entropy of yes and no.

    Args:
        weights: (K,) factor of each class where it is in the image, or None for 1.
        threshold: probability above which it is said to be; None where an image has one class.

    Inputs:
        logits: (n, K).
        targets: float32 (n, K), in 0..1.

    Outputs:
        float32 (n,), a loss an image.
    """

    def __init__(self, weights: np.ndarray | None = None, threshold: float | None = None):
        super().__init__(auto_prefix=False)
        self.weights = None if weights is None else Tensor(weights.astype(np.float32))
        self.least = None if threshold is None else math.log(threshold / (1 - threshold))

    def construct(self, logits, targets):
        logits = logits.astype(targets.dtype)
        one = ops.ones_like(logits)
        positive = one if self.weights is None else one * self.weights
        losses = ops.binary_cross_entropy_with_logits(logits, targets, one, positive, "none")
        return ops.mean(losses, -1)

    def right(self, logits, targets):
        """bool (n,): whether all classes are told right; where an image has one, whether it has the largest logit."""
        if self.least is None:
            return ops.argmax(logits, -1) == ops.argmax(targets, -1)
        same = ops.logical_xor(logits > self.least, targets < 0.5)
        return ops.all(same, -1)


def class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """float64 (K,) weights with which classes of any number of samples count alike in the loss.

    Of (n,) labels n / (K n_k), by which an image counts 1 in the mean; of (n, K) ones the samples without a class for
    each that has it. A class without samples weighs 1.
    """
    several = labels.ndim == 2
    counts = labels.sum(0, dtype=np.int64) if several else np.bincount(labels, minlength=classes)
    there = np.maximum(counts, 1)
    return np.where(counts > 0, (len(labels) - counts) / there if several else len(labels) / (classes * there), 1.0)
