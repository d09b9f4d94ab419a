"""Evaluation over all ranks, every sample counted exactly once."""

from collections.abc import Callable

import numpy as np

from neonext_ms.data import Loader
from neonext_ms.evaluation.scores import means, sums
from neonext_ms.runtime import heartbeat
from neonext_ms.runtime.ranks import Ranks


def evaluate(
    predict: Callable[[np.ndarray], np.ndarray], loader: Loader, ranks: Ranks, stopped: Callable[[], bool] = bool
) -> dict | None:
    """Run any network over a loader and sum the results of all ranks.

    Args:
        predict: (n, c, S, S) float32 images -> (n, K) logits, such as an `EvalStep` or an opened model.
        loader, ranks: of this rank.
        stopped: asked after every batch, the same on all ranks; whether to leave it at that.

    Returns:
        None if stopped; else loss (mean cross-entropy), accuracy (share of right answers, 0..1), images (how many were
        counted), and with more than five classes top5_accuracy (share of images whose class is among the five most
        probable). The loss is NaN if any logit is not a finite number.
    """
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
