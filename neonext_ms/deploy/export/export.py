"""Checkpoint to MindIR or ONNX: one file that runs without this package's network, and its description, the card."""

import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from neonext_ms.checkpoint.manifest import manifest_path, parse_manifest
from neonext_ms.checkpoint.network import load_network
from neonext_ms.checkpoint.store import versions
from neonext_ms.data import Preprocess, open_source
from neonext_ms.deploy.artefact import ENCRYPTION
from neonext_ms.deploy.export.mindir import write_mindir
from neonext_ms.deploy.export.onnx_graph import write_onnx
from neonext_ms.deploy.export.verify import HALF_LIMIT, ONNX_LIMIT, RELATIVE_LIMIT, TANH_LIMIT, verify
from neonext_ms.errors import UserError
from neonext_ms.files import publish, write_atomically

log = logging.getLogger(__name__)

CARD_FORMAT = 1
WEIGHTS = ("float32", "float16")
# MindSpore splits anything larger into several files, and ONNX's format ends there.
LARGEST = {".mindir": 1 << 30, ".onnx": (1 << 31) - 1}


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
) -> dict:
    """Export a checkpoint's network as MindIR or ONNX, and keep the file only if it computes what the checkpoint does.

    The graph has nothing but the format's own operators in it. The file is written under a temporary name in the
    output's folder, reloaded in a new process (ONNX by onnxruntime), and compared on validation images of the
    checkpoint's data set, or on the built-in digits where that is out of reach. Sets graph mode.

    Args:
        checkpoint: .ckpt file with its manifest.
        output: .mindir or .onnx file, which must not exist; its card is <output>.json.
        batch_size: images in a batch, which every use of the file must then have; None for any number.
        image_size: side of the input in pixels; None for the one that the checkpoint's preprocessing has.
        folded: export the graph of `fold`; else, for MindIR, the network as it was trained.
        gelu: "exact" or "tanh".
        weights: "float32", or "float16" for half the size and half-precision arithmetic; the input stays float32.
        key: 16, 24 or 32 bytes to encrypt a MindIR with (AES-GCM); None leaves it readable.

    Returns:
        the card: format, file {name, bytes, sha256}, model, preprocess, class_names, dataset, input {shape, dtype} (a
        batch dimension of None is any), graph {folded, gelu, weights}, encryption (None or "AES-GCM"), checkpoint
        {name, sha256, epoch, metrics}, verification {source, images, largest_difference, limit}, versions.

    Raises:
        UserError: what was asked for is not possible, or the file's outputs differ; nothing is left behind.
    """
    import mindspore as ms

    from neonext_ms.models.layers import check_input_size

    checkpoint, output = Path(checkpoint), Path(output)
    graph = {"folded": folded, "gelu": gelu, "weights": weights}
    _check_output(output)
    _check_graph(output, graph, key)
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size must be at least 1, or none for any number of images, got {batch_size}")
    ms.set_context(mode=ms.GRAPH_MODE)
    _check_size(checkpoint, output, graph, image_size)
    network, manifest = load_network(checkpoint, backend="auto" if folded else "dense")
    preprocess = Preprocess.from_dict(manifest["preprocess"])
    if image_size is not None:
        preprocess = replace(preprocess, image_size=image_size)
    side = preprocess.image_size
    check_input_size(side, side, len(network.spec.dims))
    batches = [1, 3, 8] if batch_size is None else [batch_size] * -(-8 // batch_size)
    source, images = _real_images(manifest, preprocess, sum(batches))
    try:
        folder = tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent)
    except OSError as error:
        raise UserError(f"cannot write in {output.parent} ({error.strerror}): choose another output") from None
    with folder as name:
        part = Path(name) / f"network{output.suffix}"
        log.info("exporting %s, batch size %s, %d x %d pixels", checkpoint, batch_size or "any", side, side)
        shape = [batch_size, network.spec.in_channels, side, side]
        with tempfile.TemporaryDirectory(prefix="neonext_ms-") as plain:
            # MindSpore exports to no path with a space or an accent in it; the output's folder may have such a name.
            exported = Path(plain) / part.name
            if output.suffix == ".onnx":
                write_onnx(network, exported, shape, graph)
            else:
                write_mindir(network, exported, shape, graph, key)
            shutil.copyfile(exported, part)
        log.info("comparing the file with the checkpoint in a new process, on %d images of %s", len(images), source)
        logits = _logits(network, images, batch_size)
        device = ms.get_context("device_target")
        verification = verify(part, images, logits, batches, device, _relative_limit(output, graph), key)
        card = {
            "format": CARD_FORMAT,
            "file": {"name": output.name, **_fingerprint(part)},
            "model": manifest["model"],
            "preprocess": preprocess.to_dict(),
            "class_names": manifest["class_names"],
            "dataset": manifest.get("dataset"),
            "input": {"shape": shape, "dtype": "float32"},
            "graph": graph,
            "encryption": ENCRYPTION if key else None,
            "checkpoint": {
                "name": checkpoint.name,
                "sha256": manifest["file"]["sha256"],
                **{key: manifest[key] for key in ("epoch", "metrics") if key in manifest},
            },
            "verification": {"source": source, **verification},
            "versions": versions(),
        }
        _check_output(output)  # it may have appeared in the meantime
        # The card first: a file under its final name always has one.
        write_atomically(manifest_path(output), json.dumps(card, indent=1))
        publish(part, output)
    return card


def _check_graph(output: Path, graph: dict, key: bytes | None):
    if graph["weights"] not in WEIGHTS:
        raise UserError(f"unknown weights {graph['weights']!r}: use one of {', '.join(WEIGHTS)}")
    if not graph["folded"] and (output.suffix == ".onnx" or (graph["gelu"], graph["weights"]) != ("exact", "float32")):
        raise UserError("ONNX, the tanh GELU and float16 weights need the folded graph: leave folding on")
    if key and output.suffix == ".onnx":
        raise UserError(f"ONNX has no encryption, so {output} would be readable: encrypt a .mindir file")


def _relative_limit(output: Path, graph: dict) -> float:
    """How far a file's logits may be from the checkpoint's, against the largest of them."""
    if graph["weights"] == "float16":
        return HALF_LIMIT
    if graph["gelu"] == "tanh":
        return TANH_LIMIT
    return ONNX_LIMIT if output.suffix == ".onnx" else RELATIVE_LIMIT


def _check_size(checkpoint: Path, output: Path, graph: dict, image_size: int | None):
    """Refuse what the format cannot hold before anything of that size is read."""
    try:
        manifest = parse_manifest(manifest_path(checkpoint))
    except (OSError, UserError):
        return  # whoever reads the checkpoint says what is wrong with it
    weights = graph["weights"]
    values = sum(math.prod(description["shape"]) for description in manifest["parameters"].values())
    if graph["folded"]:
        values += _laid_out(manifest["model"], image_size or manifest["preprocess"]["image_size"])
    size = values * np.dtype(weights).itemsize
    if size >= LARGEST[output.suffix]:
        limit, way_out = LARGEST[output.suffix] / (1 << 30), "ONNX, " if output.suffix == ".mindir" else ""
        raise UserError(
            f"{checkpoint} has {size / (1 << 30):.2f} GiB of {weights} weights, but one {output.suffix} file holds "
            f"less than {limit:.0f} GiB: use {way_out}float16 weights or a smaller model"
        )


def _laid_out(model: dict, side: int) -> int:
    """Values in the matrices A and B of the blocks, which are laid out for every channel: (C, H, H) and (C, W, W)."""
    from neonext_ms.models.layers import check_input_size
    from neonext_ms.models.neonext import NeoNeXtSpec
    from neonext_ms.models.registry import model_spec

    structure = {field.name for field in fields(NeoNeXtSpec)}
    spec = model_spec(model["name"], **{key: model["overrides"][key] for key in structure & set(model["overrides"])})
    sizes = check_input_size(side, side, len(spec.dims))
    return sum(depth * dim * (h * h + w * w) for depth, dim, (h, w) in zip(spec.depths, spec.dims, sizes))


def _check_output(output: Path):
    if output.suffix not in LARGEST:
        raise UserError(f"the output must end in .mindir or .onnx, got {output}")
    if not output.parent.is_dir():
        raise UserError(
            f"there is no folder {output.parent} to write {output.name} in: make it or choose another output"
        )
    for path in (output, manifest_path(output)):
        if path.exists():
            raise UserError(f"{path} exists already and is not overwritten: choose another output or remove it")


def _real_images(manifest: dict, preprocess: Preprocess, count: int) -> tuple[str, np.ndarray]:
    """Name of the source, and (count, 3, S, S) float32 of images spread over the validation split."""
    dataset = manifest.get("dataset") or {"name": "digits", "data_dir": None}
    try:
        source = open_source(dataset["name"], dataset["data_dir"], "val")
    except UserError as error:
        log.info("%s; the built-in digits are used to compare", error)
        source = open_source("digits", None, "val")
    return source.name, np.stack([preprocess(source.image(i)) for i in source.spread(count)])


def _logits(network, images: np.ndarray, batch_size: int | None) -> np.ndarray:
    """(n, K) float32 of the checkpoint's network."""
    import mindspore as ms

    size = batch_size or 4
    chunks = [images[i : i + size] for i in range(0, len(images), size)]
    return np.concatenate([network(ms.Tensor(chunk)).asnumpy() for chunk in chunks])


def _fingerprint(path: Path) -> dict:
    """Bytes and SHA-256 of a file, once it is safely on disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        data = file.read()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
