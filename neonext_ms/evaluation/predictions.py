"""What a network says to every image of a validation split."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from neonext_ms.data import Loader, Source
from neonext_ms.errors import UserError
from neonext_ms.evaluation.scores import log_softmax, order


@dataclass(frozen=True)
class Predictions:
    """The most probable class of each of n images.

    Attributes:
        source: the validation split.
        indices: int64 (n,), of the images in it; those that cannot be read are left out.
        labels, predicted: int (n,), true and most probable class.
        probability: float64 (n,), of the latter.
    """

    source: Source
    indices: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of right answers, 0..1."""
        return float((self.labels == self.predicted).mean())

    def confusion(self) -> np.ndarray:
        """int64 (K, K): how many images of the row's class were taken for the column's."""
        classes = len(self.source.class_names)
        pairs = np.bincount(self.labels * classes + self.predicted, minlength=classes**2)
        return pairs.reshape(classes, classes)

    def mistakes(self, count: int) -> np.ndarray:
        """Places in the arrays above of the `count` most probable wrong answers, the most probable first."""
        wrong = np.flatnonzero(self.labels != self.predicted)
        return wrong[np.argsort(-self.probability[wrong], kind="stable")][:count]


def predict_split(predict: Callable[[np.ndarray], np.ndarray], loader: Loader) -> Predictions:
    """Run any network over a loader of one rank; predict as for `evaluate`.

    Raises:
        UserError: images may have several classes, so that none is the right one.
    """
    if loader.source.multi_label:
        raise UserError(f"images of {loader.source.name} may have several classes: neonext validate tells mAP and F1")
    columns = []
    for batch in loader.epoch():
        logits = predict(batch.images)[batch.valid]
        predicted = order(logits)[:, 0]
        probability = np.exp(log_softmax(logits).max(1))
        columns.append([batch.indices[batch.valid], batch.labels[batch.valid], predicted, probability])
    loader.close()
    return Predictions(loader.source, *map(np.concatenate, zip(*columns)))
