"""Models on disk, ready to run: checkpoints and exported files, with what their manifest or card says about them."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neonext_ms.checkpoint.manifest import manifest_path
from neonext_ms.checkpoint.network import load_network
from neonext_ms.deploy.artefact import open_mindir, open_onnx
from neonext_ms.deploy.export.export import CARD_FORMAT
from neonext_ms.deploy.key import read_key
from neonext_ms.errors import UserError


class Opened(NamedTuple):
    """A model that runs.

    Attributes:
        network: (n, 3, S, S) float32 -> (n, K) float32 logits, both NumPy.
        facts: at least preprocess and class_names.
        batch_size: the only n that the network takes; None for any.
    """

    network: Callable[[np.ndarray], np.ndarray]
    facts: dict
    batch_size: int | None


def open_model(path: str | Path, key: bytes | None = None) -> Opened:
    """Open a .ckpt with its manifest, or a .mindir or .onnx with its card. Sets graph mode.

    Args:
        path: of the file.
        key: of an encrypted MindIR; None for the one in the environment variable NEONEXT_KEY.

    Raises:
        UserError: another kind of file, one without its manifest or card, one that is not what was written, or one
            that does not open with this key.
    """
    path = Path(path)
    if path.suffix == ".ckpt":
        return _open_checkpoint(path)
    if path.suffix not in (".mindir", ".onnx"):
        raise UserError(f"cannot run {path}: expected a checkpoint (.ckpt) or an exported model (.mindir, .onnx)")
    card = read_card(path)
    if path.suffix == ".onnx":
        network = open_onnx(path)
    else:
        network = _open_mindir(path, (key or read_key()) if card.get("encryption") else None)
    return Opened(network, card, card["input"]["shape"][0])


def _open_checkpoint(path: Path) -> Opened:
    import mindspore as ms

    from neonext_ms.deploy.fold.graph import fold

    ms.set_context(mode=ms.GRAPH_MODE)
    network, manifest = load_network(path)
    network = fold(network, manifest["preprocess"]["image_size"])
    return Opened(lambda images: network(ms.Tensor(images)).asnumpy(), manifest, None)


def _open_mindir(path: Path, key: bytes | None):
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


def read_card(path: Path) -> dict:
    """The card of an exported file, after checking that the file is what was exported.

    Raises:
        UserError: file or card missing, card not readable, or a file of another size or SHA-256.
    """
    if not path.is_file():
        raise UserError(f"there is no exported model {path}: neonext export writes one")
    try:
        card = json.loads(manifest_path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path} has no card {manifest_path(path).name} beside it: export it with neonext export, and keep both "
            "files together"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"the card {manifest_path(path)} cannot be read ({error}): export the model again") from None
    needed = {"file", "preprocess", "class_names", "input"}
    if not isinstance(card, dict) or card.get("format") != CARD_FORMAT or not needed <= set(card):
        raise UserError(f"{manifest_path(path)} is not a card of format {CARD_FORMAT}: export the model again")
    data = path.read_bytes()
    if len(data) != card["file"]["bytes"] or hashlib.sha256(data).hexdigest() != card["file"]["sha256"]:
        raise UserError(f"{path} is not the file that its card describes, it is cut short or changed: export it again")
    return card
