"""What a checkpoint says to every image of a validation split."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neonext_ms.checkpoint.network import load_network
from neonext_ms.checkpoint.store import read_manifest
from neonext_ms.data import Preprocess, Source, open_source
from neonext_ms.errors import UserError
from neonext_ms.evaluation.loader import eval_loader
from neonext_ms.runtime.ranks import join_ranks

BATCH_SIZE = 64


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


def predict_split(checkpoint: Path, data_dir: str | None, num_workers: int, device: str) -> Predictions:
    """Run a checkpoint on the validation split of the data set that it was trained on.

    Args:
        checkpoint: .ckpt of a run.
        data_dir: where the data set is now; where it was in training if null.
        num_workers: processes that prepare batches.
        device: auto, CPU or Ascend.
    Raises: UserError when the checkpoint or its data set cannot be read.
    """
    from mindspore import Tensor

    manifest = read_manifest(checkpoint)
    if not manifest.get("dataset"):
        raise UserError(f"{checkpoint} does not say which data set it was trained on")
    source = open_source(manifest["dataset"]["name"], data_dir or manifest["dataset"]["data_dir"], "val")
    source.check_classes(manifest["class_names"], str(checkpoint))
    ranks = join_ranks(device)
    network, _ = load_network(checkpoint)
    loader = eval_loader(source, Preprocess.from_dict(manifest["preprocess"]), BATCH_SIZE, num_workers, ranks, 0.5)
    columns = []
    for batch in loader.epoch():
        logits = network(Tensor(batch.images)).asnumpy().astype(np.float64)
        exponentials = np.exp(logits - logits.max(1, keepdims=True))
        probability = exponentials.max(1) / exponentials.sum(1)
        columns.append([values[batch.valid] for values in (batch.indices, batch.labels, logits.argmax(1), probability)])
    loader.close()
    return Predictions(source, *map(np.concatenate, zip(*columns)))
