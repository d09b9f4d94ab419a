"""Checkpoint to MindIR or ONNX: one file that runs without this package's network, and its card."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neonext_ms.checkpoint.card import ModelCard
from neonext_ms.checkpoint.description import ENCRYPTION, FORMAT, copy
from neonext_ms.checkpoint.network import build_with, load_trained, with_kernels
from neonext_ms.checkpoint.store import Checkpoint, versions
from neonext_ms.checks import whole_number
from neonext_ms.data import open_source
from neonext_ms.deploy.export.limits import Form
from neonext_ms.deploy.export.mindir import write_mindir
from neonext_ms.deploy.export.onnx_graph import write_onnx
from neonext_ms.deploy.export.output import check_output, publish, workplace
from neonext_ms.deploy.export.verify import verify
from neonext_ms.errors import UserError

log = logging.getLogger(__name__)


def export_model(
    checkpoint: Path,
    output: Path,
    *,
    batch_size: int | None = 1,
    image_size: int | None = None,
    folded: bool = True,
    gelu: str = "exact",
    weights: str = "float32",
    key: bytes | None = None,
    kernels: Sequence[str] | None = None,
    opset: int | None = None,
) -> dict:
    """Export a checkpoint's network as MindIR or ONNX, and keep the file only if it computes what the checkpoint does.

    The graph has nothing but the format's own operators in it. The file is written under a temporary name in the
    output's folder, reloaded in a new process (ONNX by onnxruntime), and compared on validation images of the
    checkpoint's data set, or on the built-in digits where that is out of reach. Sets graph mode.

    Args:
        checkpoint: .ckpt file with its manifest, or a model folder.
        output: .mindir or .onnx file, which must not exist; its card is <output>.json.
        batch_size: images in a batch, which every use of the file must then have; None for any number.
        image_size: side of the input in pixels; None for the one that the checkpoint's preprocessing has.
        folded: export the graph of `fold`; else, for MindIR, the network as it was trained.
        gelu: "exact" or "tanh".
        weights: "float32", or "float16" for half the size and half-precision arithmetic; the input stays float32.
        key: 16, 24 or 32 bytes to encrypt a MindIR with (AES-GCM); None leaves it readable.
        kernels: block sizes that the trained blocks are resampled to, as `resample_network` takes them.
        opset: ONNX's operator set, 11 (None) to 21.

    Returns:
        the card: format, file {name, bytes, sha256}, model, preprocess, class_names, dataset, input {shape, dtype} (a
        batch dimension of None is any), graph {folded, gelu, weights, and of ONNX opset}, encryption (None or
        "AES-GCM"), checkpoint {name, sha256, epoch, metrics}, verification {source, images, largest_difference, limit},
        versions.

    Raises:
        UserError: what was asked for is not possible, or the file's outputs differ; nothing is left behind.
    """
    import mindspore as ms

    from neonext_ms.models.layers import check_input_size

    checkpoint, output = Path(checkpoint).expanduser(), Path(output).expanduser()
    check_output(output)
    form = Form(output.suffix, folded, gelu, weights, key, opset)
    if batch_size is not None:
        batch_size = whole_number("batch_size", batch_size, 1)
    ms.set_context(mode=ms.GRAPH_MODE)
    loaded = load_trained(checkpoint)
    card = loaded.card if image_size is None else loaded.card.with_image_size(image_size)
    side = card.preprocess.image_size
    check_input_size(side, side, len(card.spec().dims))
    backend = "auto" if folded else "dense"
    network = build_with(loaded, backend=backend)
    if kernels:
        network, card = with_kernels(network, card, kernels, backend)
    form.check_size(network, side, str(checkpoint))
    shape = [batch_size, network.spec.in_chans, side, side]
    with workplace(output) as folder:
        part = folder / f"network{output.suffix}"
        log.info("exporting %s, batch size %s, %d x %d pixels", checkpoint, batch_size or "any", side, side)
        file = _write(network, part, shape, form)
        verification = _compare(network, card, part, batch_size, form)
        description = {
            "format": FORMAT,
            "file": {"name": output.name, **file},
            **card.to_dict(),
            "input": {"shape": shape, "dtype": "float32"},
            "graph": {"folded": folded, "gelu": gelu, "weights": weights}
            | ({"opset": form.opset} if form.opset else {}),
            "encryption": ENCRYPTION if key else None,
            "checkpoint": _origin(loaded),
            "verification": verification,
            "versions": versions(),
        }
        publish(part, output, description)
    return description


def _write(network, part: Path, shape: list[int | None], form: Form) -> dict:
    """Export to this file; its bytes and SHA-256."""
    with tempfile.TemporaryDirectory(prefix="neonext_ms-") as plain:
        # MindSpore exports to no path with a space or an accent in it; the output's folder may have such a name.
        exported = Path(plain) / part.name
        if form.suffix == ".onnx":
            write_onnx(network, exported, shape, form)
        else:
            write_mindir(network, exported, shape, form)
        return copy(exported, part)


def _compare(network, card: ModelCard, part: Path, batch_size: int | None, form: Form) -> dict:
    """Run network and file on real images; what `verify` returns, and the images' source."""
    import mindspore as ms

    batches = [1, 3, 8] if batch_size is None else [batch_size] * -(-8 // batch_size)
    source, images = _real_images(card, sum(batches))
    log.info("comparing the file with the checkpoint in a new process, on %d images of %s", len(images), source)
    logits = _logits(network, images, batch_size or 4)
    device = ms.get_context("device_target")
    return {"source": source, **verify(part, images, logits, batches, device, form.limit, form.key)}


def _origin(checkpoint: Checkpoint) -> dict:
    """What is said of the checkpoint that was exported."""
    manifest = checkpoint.manifest
    known = {key: manifest[key] for key in ("epoch", "metrics") if key in manifest}
    return {"name": checkpoint.path.name, "sha256": manifest["file"]["sha256"], **known}


def _real_images(card: ModelCard, count: int) -> tuple[str, np.ndarray]:
    """Name of the source, and (count, C, S, S) float32 of images spread over the validation split."""
    try:
        if card.dataset is None:
            raise UserError(f"{card.source} does not say which data set it was trained on")
        source = open_source(card.dataset.name, card.dataset.data_dir, "val")
        images = source.readable(count)
    except UserError as error:
        log.info("%s; the built-in digits are used to compare", error)
        source = open_source("digits", None, "val")
        grey = [(index, image[..., :1]) for index, image in source.readable(count)]
        images = [(index, np.repeat(image, card.preprocess.channels, 2)) for index, image in grey]
    return source.name, np.stack([card.preprocess(image) for _, image in images])


def _logits(network, images: np.ndarray, size: int) -> np.ndarray:
    """(n, K) float32 of the checkpoint's network, in batches of this size."""
    import mindspore as ms

    chunks = [images[i : i + size] for i in range(0, len(images), size)]
    return np.concatenate([network(ms.Tensor(chunk)).asnumpy() for chunk in chunks])
