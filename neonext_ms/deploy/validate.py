"""Accuracy of what is deployed: of an exported file itself, not of the checkpoint that it came from."""

from pathlib import Path

import numpy as np

from neonext_ms.deploy.classifier import Classifier
from neonext_ms.evaluation import evaluate as evaluation
from neonext_ms.evaluation.loader import eval_loader
from neonext_ms.runtime.ranks import join_ranks


def validate(
    model: Path,
    dataset: str | None,
    data_dir: str | None,
    batch_size: int,
    num_workers: int,
    device: str,
    key: bytes | None = None,
) -> dict:
    """Evaluate a .ckpt, .mindir or .onnx on a validation split, its own if none is named, with its own preprocessing.

    Returns:
        what `evaluate` does, and model and dataset.

    Raises:
        UserError: a model that cannot be used, or a data set with other classes.
    """
    if model.suffix == ".ckpt":
        return evaluation.validate(model, dataset, data_dir, batch_size, num_workers, device)
    ranks = join_ranks(device)
    # The loader's batches may have any size: the classifier cuts them into those that the file takes.
    classifier = Classifier.open(model, key)
    facts = {"class_names": classifier.class_names, "dataset": classifier.dataset}
    source = evaluation.validation_source(facts, dataset, data_dir, str(model))
    sums = np.zeros(4)
    loader = eval_loader(source, classifier.preprocess, batch_size, num_workers, ranks)
    for batch in loader.epoch():
        logits = classifier.logits(batch.images[batch.valid]).astype(np.float64)
        labels = batch.labels[batch.valid]
        largest = logits.max(1, keepdims=True)
        log_probabilities = logits - largest - np.log(np.exp(logits - largest).sum(1, keepdims=True))
        of_label = np.take_along_axis(log_probabilities, labels[:, None], 1)
        among_five = (log_probabilities > of_label).sum(1) < 5
        sums += -of_label.sum(), (logits.argmax(1) == labels).sum(), among_five.sum(), len(labels)
    return {
        "model": str(model),
        "dataset": source.name,
        **evaluation.means(ranks.total(sums), len(classifier.class_names)),
    }
