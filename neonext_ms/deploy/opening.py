"""Models on disk, ready to run: checkpoints and exported files, with the card that they carry."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neonext_ms.checkpoint.card import ModelCard
from neonext_ms.checkpoint.description import read_description
from neonext_ms.checkpoint.network import load_network
from neonext_ms.deploy.key import read_key
from neonext_ms.errors import UserError
from neonext_ms.evaluation.exported import Network, open_mindir, open_onnx, run_in_batches


@dataclass(frozen=True)
class OpenedModel:
    """A model that runs.

    Attributes:
        network: takes images in batches of batch_size.
        card: of the model.
        batch_size: the only n that the network takes; None for any.
    """

    network: Network
    card: ModelCard
    batch_size: int | None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(n, c, S, S) float32 -> (n, K) float32, for any n."""
        return run_in_batches(self.network, images, self.batch_size)


def open_model(path: str | Path, key: bytes | None = None, matmul_precision: str | None = None) -> OpenedModel:
    """Open a .ckpt with its manifest, a model folder, or a .mindir or .onnx with its card. Sets graph mode.

    Args:
        path: of the file or folder.
        key: of an encrypted MindIR; None for the one in the environment variable NEONEXT_KEY.
        matmul_precision: of a checkpoint on a CPU, see `set_matmul_precision`; None for what was set. An exported file
            has its own arithmetic.

    Raises:
        UserError: another kind of file, one without its manifest or card, one that is not what was written, or one
            that does not open with this key.
    """
    path = Path(path).expanduser()
    if path.suffix == ".ckpt" or path.is_dir():
        return _open_checkpoint(path, matmul_precision)
    if matmul_precision is not None:
        raise UserError(
            f"{path} is not a checkpoint: matmul_precision is for those, an exported model computes as it was exported"
        )
    if path.suffix not in (".mindir", ".onnx"):
        raise UserError(
            f"cannot run {path}: expected a checkpoint, an exported file (.mindir, .onnx) or a model folder"
        )
    description = read_description(path)
    if path.suffix == ".onnx":
        network = open_onnx(path)
    else:
        network = _open_mindir(path, (key or _key_for(path)) if description.encrypted else None)
    return OpenedModel(_checked(network, description.card), description.card, description.shape[0])


def _checked(network: Network, card: ModelCard) -> Network:
    """The network of an exported file, whose card can say what it likes of its outputs."""

    def run(images):
        logits = network(images)
        if logits.shape != (len(images), len(card.class_names)):
            raise UserError(
                f"{card.source} gives outputs of shape {logits.shape} for {len(images)} images, but its card has "
                f"{len(card.class_names)} class names: export the model again"
            )
        return logits

    return run


def _open_checkpoint(path: Path, matmul_precision: str | None) -> OpenedModel:
    import mindspore as ms

    from neonext_ms.deploy.fold.graph import fold
    from neonext_ms.ops.backend import check_precision
    from neonext_ms.ops.precision import using_matmul_precision

    ms.set_context(mode=ms.GRAPH_MODE)
    check_precision(matmul_precision)
    network, card = load_network(path)
    with using_matmul_precision(matmul_precision):
        folded = fold(network, card.preprocess.image_size)
    return OpenedModel(lambda images: folded(ms.Tensor(images)).asnumpy(), card, None)


def _key_for(path: Path) -> bytes:
    try:
        return read_key()
    except UserError as error:
        raise UserError(f"{path} is encrypted, and {error}") from None


def _open_mindir(path: Path, key: bytes | None) -> Network:
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        with _without_stderr() if key else contextlib.nullcontext():
            return open_mindir(path, key)
    except RuntimeError:
        # The file is the one that was written, by its SHA-256.
        why = "this is not its key" if key else "this MindSpore does not read it"
        raise UserError(f"cannot open {path}: {why}") from None


@contextlib.contextmanager
def _without_stderr():
    """MindSpore's C++ writes three lines there about a wrong key, at every log level but that for crashes."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
