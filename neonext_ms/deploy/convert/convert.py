"""Weights from the authors' PyTorch networks to ours, and back."""

import hashlib
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neonext_ms.checkpoint.manifest import manifest_path
from neonext_ms.checkpoint.network import assign_weights
from neonext_ms.checkpoint.store import load_checkpoint, save_weights
from neonext_ms.data import Preprocess
from neonext_ms.data.sources.base import IMAGENET_MEAN, IMAGENET_STD
from neonext_ms.deploy.convert.official import (
    COUNTER,
    official_name,
    official_shape,
    official_state,
    our_name,
    our_shape,
)
from neonext_ms.deploy.convert.state_dict import FORMATS, read_metadata, read_state_dict, state_dict_bytes
from neonext_ms.deploy.convert.structure import model_name, structure
from neonext_ms.errors import UserError
from neonext_ms.files import write_atomically

log = logging.getLogger(__name__)

SUFFIXES = (".ckpt", *FORMATS)
PYTORCH, OURS = "PyTorch", "neonext_ms"  # whose names a file has
SHOWN = 20  # differences that a message lists
RELEASED_AT_384 = (1, 1, 1, 1)  # shifts
# What a manifest, or the metadata of a safetensors file, says about weights.
FACTS = ("model", "preprocess", "class_names", "dataset", "origin")


@dataclass
class Weights:
    """What a file holds, under our names.

    Attributes:
        names: whose names the file has.
        values: the parameters.
        labels: name in the file of each of them.
        unexpected: names, as in the file, that neither network has.
        counters: the authors' name of each BatchNorm's count of batches, and the count.
        facts: of FACTS those that the file comes with.
    """

    names: str
    values: dict[str, np.ndarray]
    labels: dict[str, str]
    unexpected: list[str]
    counters: dict[str, int]
    facts: dict


def convert(
    source: Path,
    output: Path,
    *,
    model: str | None = None,
    image_size: int | None = None,
    shifts: tuple[int, ...] | None = None,
    class_names: Path | None = None,
    ema: bool = False,
    official: Path | None = None,
) -> dict:
    """Write weights under the other network's names, if they are exactly those of one network; else nothing.

    Args:
        source: .pt, .pth (see `read_state_dict`), .safetensors or .npz with either network's names, or our .ckpt.
        output: must not exist. .ckpt has our names, .pt and .pth have PyTorch's, .safetensors and .npz those that
            the source has not.
        model: name that the weights must belong to; None for the one that the shapes tell.
        image_size: side of the images that the weights were trained on, in pixels; None for 224.
        shifts: of the NeoCells, a step a stage, which no shape tells; None for the released ones: 1,1,1,1 with images
            of 384 pixels, else 1,1,1,0.
        class_names: text file with one name a line; None for "0", "1", ...
        ema: take the moving average that a training checkpoint holds beside the weights.
        official: clone of the authors' repository to compare with, which needs PyTorch and a C++ compiler.

    What a source says itself, a .ckpt by its manifest, cannot be given: image_size, shifts, class_names.

    Returns:
        input, output, names (whose the output has), model {name, num_classes, overrides}, tensors, values, mapped
        {name in the source: ours}, left_out (BatchNorm's counters), and verification if official was given.

    Raises:
        UserError: lists what differs: names that are missing or unexpected, wrong shapes, types, values.
    """
    from neonext_ms.models import create_model
    from neonext_ms.models.layers import check_input_size

    source, output = Path(source), Path(output)
    _check_output(output)
    weights = _read(source, ema)
    facts = _facts(weights, model, image_size, shifts, class_names, source)
    name, classes, overrides = (facts["model"][key] for key in ("name", "num_classes", "overrides"))
    network = create_model(name, classes, seed=0, **overrides)
    side = facts["preprocess"]["image_size"]
    check_input_size(side, side, len(network.spec.dims))
    shapes = {p.name: p.shape for p in network.get_parameters()}
    _check(weights, shapes, f"{source} does not fit {name}")
    weights.values = {name: value.astype(np.float32) for name, value in weights.values.items()}
    assign_weights(network, weights.values, str(source))
    report = {
        "input": str(source),
        "output": str(output),
        "names": OURS if output.suffix == ".ckpt" else PYTORCH,
        "model": facts["model"],
        "tensors": len(shapes),
        "values": sum(value.size for value in weights.values.values()),
        "mapped": {weights.labels[name]: name for name in shapes},
        "left_out": sorted(weights.counters),
    }
    if output.suffix in (".safetensors", ".npz") and weights.names == PYTORCH:
        report["names"] = OURS
    theirs = official_state({name: weights.values[name] for name in shapes}, weights.counters)
    if official:
        from neonext_ms.deploy.convert.official_run import compare

        report["verification"] = compare(network, theirs, facts, Path(official))
    if output.suffix == ".ckpt":
        save_weights(output, network, facts)
    elif report["names"] == OURS:
        write_atomically(output, state_dict_bytes({n: weights.values[n] for n in shapes}, output.suffix, facts))
    else:
        write_atomically(output, state_dict_bytes(theirs, output.suffix))
    return report


def _check_output(output: Path):
    if output.suffix not in SUFFIXES:
        raise UserError(f"the output must end in one of {' '.join(SUFFIXES)}, got {output}")
    if not output.parent.is_dir():
        raise UserError(
            f"there is no folder {output.parent} to write {output.name} in: make it or choose another output"
        )
    for path in (output, manifest_path(output)) if output.suffix == ".ckpt" else (output,):
        if path.exists():
            raise UserError(f"{path} exists already and is not overwritten: choose another output or remove it")


def _read(source: Path, ema: bool) -> Weights:
    if source.suffix not in SUFFIXES:
        raise UserError(f"cannot read weights from {source}: expected one of {' '.join(SUFFIXES)}")
    if source.suffix == ".ckpt":
        if ema:
            raise UserError(f"{source} holds one set of weights: leave ema out")
        checkpoint = load_checkpoint(source, with_state=False)
        state, facts = checkpoint.weights, checkpoint.manifest
    else:
        state = read_state_dict(source, ema)
        facts = read_metadata(source)
    facts = {key: facts[key] for key in FACTS if facts.get(key) is not None}
    counters = facts.get("origin", {}).get("counters", {})
    weights = Weights(PYTORCH, {}, {}, [], dict(counters), facts)
    if sum(map(bool, map(official_name, state))) > sum(map(bool, map(our_name, state))):
        weights.names = OURS
    else:
        facts["origin"] = {"file": source.name, "sha256": _sha256(source), "counters": weights.counters}
    for label, value in state.items():
        if weights.names == PYTORCH and label.endswith(COUNTER) and value.size == 1:
            weights.counters[label] = int(value)
            continue
        name = our_name(label) if weights.names == PYTORCH else label
        if name is None or name in weights.values:
            weights.unexpected.append(label)
            continue
        weights.values[name] = value.reshape(our_shape(label, value.shape)) if weights.names == PYTORCH else value
        weights.labels[name] = label
    return weights


def _facts(weights: Weights, model, image_size, shifts, class_names, source: Path) -> dict:
    """What the weights came with, completed by what was asked for and what their shapes tell."""
    facts = dict(weights.facts)
    if "model" in facts:
        if image_size or shifts or class_names:
            raise UserError(f"{source} says itself what it is: leave image_size, shifts and class_names out")
        if model and model != facts["model"]["name"]:
            raise UserError(f"{source} belongs to {facts['model']['name']}, not to {model}: leave model out")
        return facts
    shapes = {name: value.shape for name, value in weights.values.items()}
    if model:
        # The comparison tells what differs; without a classifier it tells that too.
        name, overrides, classes = model, {}, shapes.get("head.fc.bias", (1000,))[0]
    else:
        try:
            spec, classes = structure(shapes)
        except UserError as error:
            raise UserError(f"{source}: {error}") from None
        name, overrides = model_name(spec)
    size = image_size or 224
    if shifts is None and size == 384 and name.endswith("_v2"):
        shifts = RELEASED_AT_384
    if shifts is not None:
        overrides = {**overrides, "shifts": list(shifts)}
    facts["model"] = {"name": name, "num_classes": classes, "overrides": overrides}
    facts["preprocess"] = released_preprocess(size).to_dict()
    facts["class_names"] = _class_names(class_names, classes)
    facts["dataset"] = None
    return facts


def released_preprocess(image_size: int) -> Preprocess:
    """Evaluation of the authors' code: short side to round(size / 0.875), bilinear, centre, ImageNet's mean and std."""
    short = round(image_size / 0.875)
    # Not above size / short: Preprocess rounds the short side down.
    crop_pct = math.floor(1000 * image_size / short) / 1000
    return Preprocess(image_size, IMAGENET_MEAN, IMAGENET_STD, crop_pct, "bilinear")


def _class_names(path: Path | None, count: int) -> list[str]:
    if path is None:
        return [str(i) for i in range(count)]
    try:
        names = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read class names from {path} ({error})") from None
    if len(names) != count:
        raise UserError(f"{path} has {len(names)} lines with class names, but the weights have {count} classes")
    return names


def _check(weights: Weights, shapes: dict[str, tuple[int, ...]], what: str):
    """Refuse weights that are not exactly a network's; names in the message are the file's."""
    differences = [f"{label} is unexpected" for label in weights.unexpected]

    def as_in_file(label, shape):
        return official_shape(label, shape) if weights.names == PYTORCH else shape

    for name, value in weights.values.items():
        label = weights.labels[name]
        if name not in shapes:
            differences.append(f"{label} is unexpected")
        elif value.shape != shapes[name]:
            expected = as_in_file(label, shapes[name])
            differences.append(f"{label} has shape {as_in_file(label, value.shape)}, expected {expected}")
        elif value.dtype not in (np.float32, np.float16):
            differences.append(f"{label} is {value.dtype}, expected float32 or a type that it holds exactly")
        elif bad := value.size - int(np.isfinite(value).sum()):
            differences.append(f"{label} has {bad} of {value.size} values that are not finite numbers")
    for name in shapes:
        if name not in weights.values:
            differences.append(f"{official_name(name) if weights.names == PYTORCH else name} is missing")
    if differences:
        listed = "; ".join(differences[:SHOWN])
        count = f"{len(differences)} difference{'s' * (len(differences) > 1)}"
        more = f"; and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise UserError(f"{what}{_hint(weights)}, {count}: {listed}{more}")


def _hint(weights: Weights) -> str:
    try:
        name, overrides = model_name(structure({name: value.shape for name, value in weights.values.items()})[0])
    except UserError:
        return ""
    return f" (it looks like {name}{' with other ' + ', '.join(overrides) if overrides else ''})"


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
