"""Weights of either network in whatever file, under our names, with what the file says about them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neonext_ms.checkpoint.card import ModelCard
from neonext_ms.checkpoint.fields import check_type, read_fields, readable
from neonext_ms.checkpoint.format import decode
from neonext_ms.checkpoint.manifest import manifest_path
from neonext_ms.checkpoint.safetensors_file import read_metadata
from neonext_ms.checkpoint.store import load_checkpoint
from neonext_ms.deploy.convert.official import COUNTER, official_name, official_shape, our_name, our_shape
from neonext_ms.deploy.convert.state_dict import read_state_dict
from neonext_ms.errors import UserError
from neonext_ms.files import sha256

PYTORCH, OURS = "PyTorch", "neonext_ms"  # whose names a file has
SHOWN = 20  # differences that a message lists


@dataclass(frozen=True)
class Origin:
    """The file of the authors' network that weights come from, with its batch counters by their names."""

    file: str
    sha256: str
    counters: dict


@dataclass
class Weights:
    """What a file holds, under our names.

    Attributes:
        source: the file.
        names: whose names the file has.
        values: the parameters.
        labels: name in the file of each of them.
        unexpected: names, as in the file, that neither network has.
        card: of the model, if the file says it.
        origin: if they come from the authors' network.
    """

    source: Path
    names: str
    values: dict[str, np.ndarray]
    labels: dict[str, str]
    unexpected: list[str]
    card: ModelCard | None
    origin: Origin | None

    def check(self, shapes: dict[str, tuple[int, ...]], what: str):
        """Refuse weights that are not exactly those of a network; names in the message are the file's.

        Args:
            shapes: of the network, by our names.
            what: begins the message.

        Raises:
            UserError: lists what is missing, unexpected, or of another shape or type, and values that are no numbers.
        """
        differences = [f"{readable(label)} is unexpected" for label in self.unexpected]
        for name, value in self.values.items():
            if difference := self._difference(name, value, shapes.get(name)):
                differences.append(f"{readable(self.labels[name])} {difference}")
        for name in shapes:
            if name not in self.values:
                differences.append(f"{official_name(name) if self.names == PYTORCH else name} is missing")
        if differences:
            listed = "; ".join(differences[:SHOWN])
            count = f"{len(differences)} difference{'s' * (len(differences) > 1)}"
            more = f"; and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
            raise UserError(f"{what}, {count}: {listed}{more}")

    def _difference(self, name: str, value: np.ndarray, shape: tuple[int, ...] | None) -> str | None:
        label = self.labels[name]
        if shape is None:
            return "is unexpected"
        if value.shape != shape:
            found, expected = value.shape, shape
            if self.names == PYTORCH:
                found, expected = official_shape(label, found), official_shape(label, expected)
            return f"has shape {found}, expected {expected}"
        if value.dtype not in (np.float32, np.float16):
            return f"is {value.dtype}, expected float32 or a type that it holds exactly"
        if bad := value.size - int(np.isfinite(value).sum()):
            return f"has {bad} of {value.size} values that are not finite numbers"
        return None


def read_weights(source: Path, ema: bool) -> Weights:
    """The weights in a file, of whichever network they are.

    Args:
        source: a checkpoint of ours, a file of mindspore.save_checkpoint, or one that `read_state_dict` reads.
        ema: see `read_state_dict`.

    Raises:
        UserError: it is none of these, or damaged.
    """
    state, card, origin = _read(source, ema)
    weights = Weights(source, PYTORCH, {}, {}, [], card, origin)
    if sum(map(bool, map(official_name, state))) > sum(map(bool, map(our_name, state))):
        weights.names = OURS
    else:
        counters = {label: int(value) for label, value in state.items() if _is_counter(label, value)}
        weights.origin = Origin(source.name, _sha256(source), {**(origin.counters if origin else {}), **counters})
    for label, value in state.items():
        if weights.names == PYTORCH and _is_counter(label, value):
            continue
        name = our_name(label) if weights.names == PYTORCH else label
        if name is None or name in weights.values or (weights.names == OURS and official_name(name) is None):
            weights.unexpected.append(label)
            continue
        weights.values[name] = value.reshape(our_shape(label, value.shape)) if weights.names == PYTORCH else value
        weights.labels[name] = label
    return weights


def _read(source: Path, ema: bool) -> tuple[dict[str, np.ndarray], ModelCard | None, Origin | None]:
    if _is_mindspore(source):
        if ema:
            raise UserError(f"{source} holds one set of weights: leave ema out")
        if not manifest_path(source).exists():
            return _plain_checkpoint(source), None, None
        checkpoint = load_checkpoint(source, with_state=False)
        return checkpoint.weights, checkpoint.card, _origin(checkpoint.manifest, manifest_path(source))
    state, said = read_state_dict(source, ema), read_metadata(source)
    card = ModelCard.from_dict(said, str(source)) if "model" in said else None
    return state, card, _origin(said, source)


def _is_mindspore(source: Path) -> bool:
    """PyTorch's programs use the suffix too; their files are zips."""
    if source.suffix != ".ckpt" or not source.is_file():
        return source.suffix == ".ckpt"
    with open(source, "rb") as file:
        return file.read(2) != b"PK"


def _plain_checkpoint(source: Path) -> dict[str, np.ndarray]:
    """Of mindspore.save_checkpoint: without a manifest, so that nothing says whether it is whole but its own sense."""
    try:
        return decode(source.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {source} ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{source} cannot be read ({error}): use another file") from None


def _origin(values: dict, where: Path) -> Origin | None:
    if values.get("origin") is None:
        return None
    origin = read_fields(Origin, values["origin"], f"{where}: origin")
    for name, count in origin.counters.items():
        check_type(count, int, f"{where}: origin: counters: {readable(name)}")
    return origin


def _is_counter(label: str, value: np.ndarray) -> bool:
    return label.endswith(COUNTER) and value.size == 1 and value.dtype.kind in "iu"


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return sha256(file)
