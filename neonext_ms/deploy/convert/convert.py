"""Weights from the authors' PyTorch networks to ours, and back."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from neonext_ms.checkpoint.card import Model, ModelCard
from neonext_ms.checkpoint.manifest import manifest_path
from neonext_ms.checkpoint.network import assign_weights, refuse_larger, with_kernels
from neonext_ms.checkpoint.store import save_checkpoint
from neonext_ms.data import Preprocess
from neonext_ms.data.sources.base import IMAGENET_MEAN, IMAGENET_STD
from neonext_ms.deploy.convert.official import official_state
from neonext_ms.deploy.convert.source import OURS, PYTORCH, Weights, read_weights
from neonext_ms.deploy.convert.state_dict import FORMATS, state_dict_bytes
from neonext_ms.deploy.convert.structure import model_name, structure
from neonext_ms.errors import UserError
from neonext_ms.files import write_atomically
from neonext_ms.texts import read_text

SUFFIXES = (".ckpt", *FORMATS)  # of outputs
RELEASED_AT_384 = (1, 1, 1, 1)  # shifts


@dataclass(frozen=True)
class _Given:
    """What a caller says about weights that do not say it themselves; arguments of `convert`."""

    model: str | None
    image_size: int | None
    shifts: tuple[int, ...] | None
    class_names: Path | None


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
    kernels: Sequence[str] | None = None,
) -> dict:
    """Write weights under the other network's names, if they are exactly those of one network; else nothing.

    Args:
        source: see `read_weights`; with either network's names.
        output: must not exist. .ckpt has our names, .pt and .pth have PyTorch's, .safetensors and .npz those that
            the source has not.
        model: name that the weights must belong to; None for the one that the shapes tell.
        image_size: side of the images that the weights were trained on, in pixels; None for 224.
        shifts: of the NeoCells, a step a stage, which no shape tells; None for the released ones: 1,1,1,1 with images
            of 384 pixels, else 1,1,1,0.
        class_names: text file with one name a line; None for "0", "1", ...
        ema: take the moving average that a training checkpoint holds beside the weights.
        official: clone of the authors' repository to compare with, which needs PyTorch and a C++ compiler.
        kernels: block sizes that the trained blocks are resampled to, as `resample_network` takes them; after the
            comparison.

    What a source says itself, a .ckpt by its manifest, cannot be given: image_size, shifts, class_names.

    Returns:
        input, output, names (whose the output has), model {name, num_classes, overrides}, tensors, values, mapped
        {name in the source: ours}, left_out (BatchNorm's counters), and verification if official was given.

    Raises:
        UserError: lists what differs: names that are missing or unexpected, wrong shapes, types, values.
    """
    from neonext_ms.models.layers import check_input_size

    source, output = Path(source).expanduser(), Path(output).expanduser()
    _check_output(output)
    weights = read_weights(source, ema)
    card = _card(weights, _Given(model, image_size, shifts, class_names))
    side = card.preprocess.image_size
    check_input_size(side, side, len(card.spec().dims))
    card.spec().refuse_other_forms("conversion")
    if weights.card:
        refuse_larger(card, weights.values)
    network = card.build()
    shapes = {p.name: p.shape for p in network.get_parameters()}
    weights.check(shapes, f"{source} does not fit {card.model.name}{_hint(weights)}")
    values = {name: weights.values[name].astype(np.float32) for name in shapes}
    assign_weights(network, values, str(source))
    theirs = official_state(values, weights.origin.counters if weights.origin else {})
    proof = {}
    if official:
        from neonext_ms.deploy.convert.official_run import compare

        proof = {"verification": compare(network, theirs, side, Path(official).expanduser())}
    if kernels:
        network, card = with_kernels(network, card, kernels)
        values = {p.name: p.asnumpy() for p in network.get_parameters()}
        theirs = official_state(values, weights.origin.counters if weights.origin else {})
    names = _write(output, values, theirs, weights, card)
    return {
        "input": str(source),
        "output": str(output),
        "names": names,
        "model": asdict(card.model),
        "tensors": len(shapes),
        "values": sum(value.size for value in values.values()),
        "mapped": {weights.labels[name]: name for name in shapes},
        "left_out": sorted(weights.origin.counters) if weights.origin else [],
        **proof,
    }


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


def _write(output: Path, values: dict, theirs: dict, weights: Weights, card: ModelCard) -> str:
    """Write the parameters, of which `theirs` has the authors' names, and return whose names the file has."""
    about = card.to_dict() | ({"origin": asdict(weights.origin)} if weights.origin else {})
    if output.suffix == ".ckpt":
        save_checkpoint(output, values, about)
        return OURS
    if output.suffix in (".safetensors", ".npz") and weights.names == PYTORCH:
        write_atomically(output, state_dict_bytes(values, output.suffix, about))
        return OURS
    write_atomically(output, state_dict_bytes(theirs, output.suffix))
    return PYTORCH


def _card(weights: Weights, given: _Given) -> ModelCard:
    """What the weights came with, or what was given for them and what their shapes tell."""
    source = weights.source
    if weights.card:
        if given.image_size or given.shifts or given.class_names:
            raise UserError(f"{source} says itself what it is: leave image_size, shifts and class_names out")
        if given.model and given.model != weights.card.model.name:
            raise UserError(f"{source} belongs to {weights.card.model.name}, not to {given.model}: leave model out")
        return weights.card
    shapes = {name: value.shape for name, value in weights.values.items()}
    if given.model:
        # The comparison tells what differs; without a classifier it tells that too.
        name, overrides, classes = given.model, {}, shapes.get("head.fc.bias", (1000,))[0]
    else:
        try:
            spec, classes = structure(shapes)
        except UserError as error:
            raise UserError(f"{source}: {error}") from None
        name, overrides = model_name(spec)
    size, shifts = given.image_size or 224, given.shifts
    if shifts is None and size == 384 and name.endswith("_v2"):
        shifts = RELEASED_AT_384
    if shifts is not None:
        overrides = {**overrides, "shifts": list(shifts)}
    names = tuple(_class_names(given.class_names, classes))
    return ModelCard(Model(name, classes, overrides), released_preprocess(size), names, None, str(source))


def released_preprocess(image_size: int) -> Preprocess:
    """Evaluation of the authors' code: short side to round(size / 0.875), bilinear, centre, ImageNet's mean and std."""
    short = round(image_size / 0.875)
    # Not above size / short: Preprocess rounds the short side down.
    crop_pct = math.floor(1000 * image_size / short) / 1000
    return Preprocess(image_size, IMAGENET_MEAN, IMAGENET_STD, crop_pct, "bilinear")


def _class_names(path: Path | None, count: int) -> list[str]:
    if path is None:
        return [str(i) for i in range(count)]
    names = [line.strip() for line in read_text(path).split("\n") if line.strip()]
    if len(names) != count:
        raise UserError(f"{path} has {len(names)} lines with class names, but the weights have {count} classes")
    return names


def _hint(weights: Weights) -> str:
    try:
        name, overrides = model_name(structure({name: value.shape for name, value in weights.values.items()})[0])
    except UserError:
        return ""
    return f" (it looks like {name}{' with other ' + ', '.join(overrides) if overrides else ''})"
