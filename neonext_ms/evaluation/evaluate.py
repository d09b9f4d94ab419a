"""Evaluation over all ranks, every sample counted exactly once."""

from collections.abc import Callable

import numpy as np

from neonext_ms.data import Loader
from neonext_ms.evaluation.scores import means, several, sums
from neonext_ms.runtime import heartbeat
from neonext_ms.runtime.ranks import Ranks


def evaluate(
    predict: Callable[[np.ndarray], np.ndarray],
    loader: Loader,
    ranks: Ranks,
    stopped: Callable[[], bool] = bool,
    threshold: float | None = None,
) -> dict | None:
    """Run any network over a loader and sum the results of all ranks.

    Args:
        predict: (n, c, S, S) float32 images -> (n, K) logits, such as an `EvalStep` or an opened model.
        loader, ranks: of this rank.
        stopped: asked after every batch, the same on all ranks; whether to leave it at that.
        threshold: of the model's card; 0.5 if that has none, but the images of this data set may have several classes.

    Returns:
        None if stopped; else loss (mean cross-entropy), accuracy (share of right answers, 0..1), images (how many were
        counted), and with more than five classes top5_accuracy (share of images whose class is among the five most
        probable). The loss is NaN if any logit is not a finite number. Where images may have several classes: loss
        (mean binary cross-entropy), accuracy (share of images all of whose classes are told right), mAP (mean over the
        classes of the average precision), f1 (of all answers together), images.
    """
    if loader.source.multi_label:
        return _evaluate_several(predict, loader, ranks, stopped, 0.5 if threshold is None else threshold)
    total = np.zeros(4)
    for batch in loader.epoch():
        total += sums(predict(batch.images)[batch.valid], batch.labels[batch.valid])
        total[3] -= np.sum(batch.indices >= 0)  # what is left, and travels, is how many could not be read
        heartbeat.beat()
        if stopped():
            return None
    total = ranks.total(total)
    total[3] += len(loader.source)
    return means(total, len(loader.source.class_names))


def _evaluate_several(predict, loader: Loader, ranks: Ranks, stopped, threshold: float) -> dict | None:
    """All logits are needed at once: (samples, classes) float32 on every rank."""
    labels = loader.source.labels
    logits, seen = np.zeros(labels.shape, np.float32), np.zeros(len(labels), np.float32)
    for batch in loader.epoch():
        indices = batch.indices[batch.valid]
        logits[indices], seen[indices] = predict(batch.images)[batch.valid], 1
        heartbeat.beat()
        if stopped():
            return None
    seen = ranks.total(seen) > 0
    for k in range(labels.shape[1]):  # a class at a time: the sum over ranks is for small vectors
        logits[:, k] = ranks.total(logits[:, k])
    return several(logits[seen], labels[seen], threshold)
