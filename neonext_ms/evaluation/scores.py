"""What logits are worth: probabilities, cross-entropy, and the place of the true class. NumPy, float64.

Classes are in the order of falling logits, equal ones in the order of their numbers: an answer is right if the true
class is the first, and among the five if it is one of the first five, as they are listed for an image.
"""

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """(..., K) logits -> (..., K) float64 logarithms of probabilities."""
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def order(logits: np.ndarray) -> np.ndarray:
    """(..., K) logits -> (..., K) numbers of the classes, the most probable first."""
    return np.argsort(-np.asarray(logits), axis=-1, kind="stable")


def sums(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n, K) logits and (n,) true classes -> (4,) float64 sums over the images.

    They are the cross-entropies, the right answers, the true classes among the first five, and the images. Logits that
    are not finite numbers make the first of them NaN.
    """
    losses = -np.take_along_axis(log_softmax(logits), labels[:, None], 1)
    place = (order(logits) == labels[:, None]).argmax(1)
    return np.array([losses.sum(), (place == 0).sum(), (place < 5).sum(), len(labels)], np.float64)


def means(sums: np.ndarray, classes: int) -> dict:
    """What `evaluate` returns, of the sums over all images."""
    loss, right, among_five, images = (float(value) for value in sums)
    result = {"loss": loss / images, "accuracy": right / images, "images": int(images)}
    return result if classes <= 5 else {**result, "top5_accuracy": among_five / images}
