"""A trained model whose answers a run learns from, beside the labels (https://arxiv.org/abs/1503.02531)."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from neonext_ms.checkpoint.card import ModelCard
from neonext_ms.checkpoint.description import read_description
from neonext_ms.checkpoint.manifest import manifest_path
from neonext_ms.checkpoint.network import build_with, load_trained
from neonext_ms.data import Preprocess, Source
from neonext_ms.errors import UserError
from neonext_ms.evaluation.exported import open_mindir, open_onnx, run_in_batches
from neonext_ms.models.layers import BatchNorm
from neonext_ms.training.finetune import digest_of_weights


@dataclass(frozen=True)
class Teacher:
    """A model that gives logits for the images that the student sees.

    Attributes:
        said: what it is, in one line.
        digest: SHA-256 of its weights, or of its file: what a run that goes on must find again.
        cell: of (n, C, S, S) images, as part of the graph of an update; None for an exported file.
        predict: the same of NumPy arrays, before an update; None for a checkpoint.
    """

    said: str
    digest: str
    cell: nn.Cell | None = None
    predict: Callable[[np.ndarray], np.ndarray] | None = None


def open_teacher(path: Path, transform: Preprocess, source: Source) -> Teacher:
    """Open a checkpoint, a model folder, or an exported file; an ONNX file may be of any network and without a card.

    Where it has a card, the images are normalised as it says; one without gets them as the student does.

    Args:
        path: of the file or folder.
        transform: of the student, whose images it gets.
        source: that the student learns from, of the same classes.

    Raises:
        UserError: a model that cannot be used, or does not fit.
    """
    if path.suffix == ".ckpt" or path.is_dir():
        return _of_checkpoint(path, transform, source)
    if path.suffix not in (".mindir", ".onnx"):
        raise UserError(f"cannot learn from {path}: expected a checkpoint, a model folder, or a .mindir or .onnx file")
    return _of_file(path, transform, source)


def _of_checkpoint(path: Path, transform: Preprocess, source: Source) -> Teacher:
    trained = load_trained(path)
    card = trained.card
    source.check_classes(card.class_names, str(path))
    network = build_with(trained)
    for parameter in network.get_parameters():
        parameter.requires_grad = False
        parameter.name = f"teacher.{parameter.name}"  # the student has the same names in the same graph
    for _, cell in network.cells_and_names():
        if isinstance(cell, BatchNorm):
            cell.use_batch_statistics = False
    said = f"learns from {path} ({card.model.name}), as part of the graph"
    return Teacher(said, digest_of_weights(trained), cell=_Logits(network, _renormalise(transform, card)))


def _of_file(path: Path, transform: Preprocess, source: Source) -> Teacher:
    channels, side, classes = transform.channels, transform.image_size, len(source.class_names)
    card = size = None
    if path.suffix == ".mindir" or manifest_path(path).exists():
        description = read_description(path)
        if description.encrypted:
            raise UserError(f"cannot learn from {path}, which is encrypted: export it without, or give its checkpoint")
        card, size = description.card, description.shape[0]
        source.check_classes(card.class_names, str(path))
    if path.suffix == ".onnx":
        network = open_onnx(path)
        size = network.batch_size
    else:
        network = open_mindir(path)
    scale, offset = _renormalise(transform, card)

    def predict(images):
        return run_in_batches(network, images * scale + offset, size)

    try:
        shape = predict(np.zeros((1, channels, side, side), np.float32)).shape
    except Exception as error:  # of onnxruntime or MindSpore, each of which has many
        why = str(error).strip().splitlines()[0]
        raise UserError(
            f"{path} does not take images of {channels} x {side} x {side}, which the student sees: {why}"
        ) from None
    if shape != (1, classes):
        raise UserError(f"{path} gives {shape[1:]} values an image, but {source.name} has {classes} classes")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Teacher(f"learns from {path}, which runs on its own before each update", digest, predict=predict)


def _renormalise(transform: Preprocess, card: ModelCard | None) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset, float32 (C, 1, 1), from the student's normalisation to the teacher's."""
    theirs = card.preprocess if card else transform
    if theirs.channels != transform.channels:
        raise UserError(
            f"{card.source} takes images of {theirs.channels} channels, but the student sees {transform.channels}: "
            "give a teacher of the same images"
        )
    mean, std, other_mean, other_std = (np.array(v) for v in (transform.mean, transform.std, theirs.mean, theirs.std))
    return tuple(v.astype(np.float32).reshape(-1, 1, 1) for v in (std / other_std, (mean - other_mean) / other_std))


class _Logits(nn.Cell):
    def __init__(self, network, normalisation):
        super().__init__(auto_prefix=False)
        self.network = network
        self.scale, self.offset = map(Tensor, normalisation)

    def construct(self, images):
        normalised = images * self.scale.astype(images.dtype) + self.offset.astype(images.dtype)
        return self.network(normalised).astype(ms.float32)
