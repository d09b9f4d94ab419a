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


def several(logits: np.ndarray, labels: np.ndarray, threshold: float) -> dict:
    """Of images that may have several classes: (n, K) logits and (n, K) labels of 0 and 1 -> what `evaluate` returns.

    Logits that are not finite numbers make the loss NaN.
    """
    logits, labels = np.asarray(logits, np.float64), labels.astype(bool)
    losses = np.logaddexp(0, logits) - logits * labels
    said = logits > np.log(threshold / (1 - threshold))
    precisions = [average_precision(logits[:, k], labels[:, k]) for k in np.flatnonzero(labels.any(0))]
    return {
        "loss": float(losses.mean()),
        "accuracy": float((said == labels).all(1).mean()),
        "mAP": float(np.mean(precisions)) if precisions else 0.0,
        "f1": float(2 * (said & labels).sum() / max(said.sum() + labels.sum(), 1)),
        "images": len(labels),
    }


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under precision over recall as steps: mean, over the images of a class, of the precision at their scores.

    Args:
        scores: (n,), higher for the class.
        labels: bool (n,), of which one at least is true.
    """
    places = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[places]), 1))  # images of one score are taken together
    right = np.cumsum(labels[places])[ends]
    return float(np.sum(np.diff(right, prepend=0) * right / (ends + 1)) / right[-1])


def means(sums: np.ndarray, classes: int) -> dict:
    """What `evaluate` returns, of the sums over all images."""
    loss, right, among_five, images = (float(value) for value in sums)
    result = {"loss": loss / images, "accuracy": right / images, "images": int(images)}
    return result if classes <= 5 else {**result, "top5_accuracy": among_five / images}
