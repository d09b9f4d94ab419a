"""Evaluation over all ranks, every sample counted exactly once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from neonext_ms.checkpoint.network import load_network
from neonext_ms.checkpoint.store import read_manifest
from neonext_ms.data import Loader, Preprocess, Source, open_source
from neonext_ms.errors import UserError
from neonext_ms.evaluation.loader import eval_loader
from neonext_ms.runtime import heartbeat
from neonext_ms.runtime.ranks import Ranks, join_ranks


def evaluate(step, loader: Loader, ranks: Ranks, stopped: Callable[[], bool] = bool) -> dict | None:
    """Run an `EvalStep` over a loader and sum the results of all ranks.

    Args:
        step, loader, ranks: of this rank.
        stopped: asked after every batch, the same on all ranks; whether to leave it at that.

    Returns:
        None if stopped; else loss (mean cross-entropy), accuracy (share of right answers, 0..1), images (how many were
        counted), and with more than five classes top5_accuracy (share of images whose class is among the five most
        probable).
    """
    from mindspore import Tensor

    step.set_train(False)
    sums = np.zeros(4)
    for batch in loader.epoch():
        sums += step(Tensor(batch.images), Tensor(batch.targets)).asnumpy()
        heartbeat.beat()
        if stopped():
            return None
    return means(ranks.total(sums), len(loader.source.class_names))


def means(sums: np.ndarray, classes: int) -> dict:
    """What `evaluate` returns, of the sums over all images that `EvalStep` gives for those of a batch."""
    loss, correct, among_five, images = (float(value) for value in sums)
    result = {"loss": loss / images, "accuracy": correct / images, "images": int(images)}
    return result if classes <= 5 else {**result, "top5_accuracy": among_five / images}


def validation_source(facts: dict, dataset: str | None, data_dir: str | None, model: str) -> Source:
    """The validation split of a data set, by default of the one that a model was trained on.

    Args:
        facts: class_names of the model and its dataset {name, data_dir}, or None if that is not known.
        dataset, data_dir: what to open instead.
        model: for messages.

    Raises:
        UserError: it cannot be opened, has other classes, or none is named and the model does not know its own.
    """
    if dataset is None:
        if not facts.get("dataset"):
            raise UserError(f"{model} does not say which data set it was trained on: name a dataset")
        dataset, data_dir = facts["dataset"]["name"], data_dir or facts["dataset"]["data_dir"]
    source = open_source(dataset, data_dir, "val")
    source.check_classes(facts["class_names"], model)
    return source


def validate(
    model: Path, dataset: str | None, data_dir: str | None, batch_size: int, num_workers: int, device: str
) -> dict:
    """Evaluate a checkpoint on the validation split of a data set, its own if none is named.

    Returns:
        what `evaluate` does, and model and dataset.

    Raises:
        UserError: a checkpoint that cannot be used, or a data set with other classes.
    """
    manifest = read_manifest(model)
    source = validation_source(manifest, dataset, data_dir, str(model))
    ranks = join_ranks(device)
    from neonext_ms.evaluation.step import EvalStep

    network, _ = load_network(model)
    transform = Preprocess.from_dict(manifest["preprocess"])
    loader = eval_loader(source, transform, batch_size, num_workers, ranks)
    return {"model": str(model), "dataset": source.name, **evaluate(EvalStep(network), loader, ranks)}
