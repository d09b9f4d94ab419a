"""Losses of training, inside the graph."""

import math

import numpy as np
from mindspore import Tensor, mint, nn, ops

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

    def probabilities(self, logits):
        """float32 (n, K)."""
        return ops.softmax(logits, -1)

    def answers(self, logits):
        """Targets that say without a doubt what the logits say."""
        return ops.one_hot(ops.argmax(logits, -1), logits.shape[-1]).astype(logits.dtype)


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

    def probabilities(self, logits):
        """float32 (n, K)."""
        return ops.sigmoid(logits)

    def answers(self, logits):
        """Targets that say without a doubt what the logits say."""
        return (logits > (0.0 if self.least is None else self.least)).astype(logits.dtype)


class Distillation(nn.Cell):
    """(1 - alpha) of the loss against the labels, and alpha of that against a teacher's answers.

    Soft: against its probabilities, both sides' logits divided by the temperature T, times T^2, which keeps the size of
    the gradients (https://arxiv.org/abs/1503.02531). Hard: against its answer (https://arxiv.org/abs/2012.12877).

    Args:
        criterion: one of the above.
        alpha: see there.
        temperature: T; without effect on the hard form.
        hard: which form.

    Inputs:
        logits: (n, K).
        targets: float32 (n, 2 K), those of the labels and beside them the teacher's logits.

    Outputs:
        float32 (n,), a loss an image.
    """

    def __init__(self, criterion, alpha: float, temperature: float = 1.0, hard: bool = False):
        super().__init__(auto_prefix=False)
        self.criterion = criterion
        self.alpha = alpha
        self.temperature = 1.0 if hard else temperature
        self.hard = hard

    def construct(self, logits, targets):
        classes = logits.shape[-1]
        told = mint.narrow(targets, 1, classes, classes) / self.temperature
        told = self.criterion.answers(told) if self.hard else self.criterion.probabilities(told)
        taught = self.criterion(logits.astype(targets.dtype) / self.temperature, told) * self.temperature**2
        own = self.criterion(logits, mint.narrow(targets, 1, 0, classes))
        return (1 - self.alpha) * own + self.alpha * taught

    def right(self, logits, targets):
        """bool (n,): as the criterion has it, of the labels."""
        return self.criterion.right(logits, mint.narrow(targets, 1, 0, logits.shape[-1]))


def class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """float64 (K,) weights with which classes of any number of samples count alike in the loss.

    Of (n,) labels n / (K n_k), by which an image counts 1 in the mean; of (n, K) ones the samples without a class for
    each that has it. A class without samples weighs 1.
    """
    several = labels.ndim == 2
    counts = labels.sum(0, dtype=np.int64) if several else np.bincount(labels, minlength=classes)
    there = np.maximum(counts, 1)
    return np.where(counts > 0, (len(labels) - counts) / there if several else len(labels) / (classes * there), 1.0)
