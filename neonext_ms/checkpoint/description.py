"""The JSON file beside an exported model: the model's card, and what is needed to run the file and to trust it."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from neonext_ms.checkpoint.card import ModelCard
from neonext_ms.checkpoint.fields import parse_json, read_fields
from neonext_ms.checkpoint.manifest import manifest_path
from neonext_ms.errors import UserError
from neonext_ms.files import read_regular, sha256

FORMAT = 1
ENCRYPTION = "AES-GCM"
AGAIN = "export the model again"


@dataclass(frozen=True)
class _File:
    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class _Input:
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True)
class _Fields:
    file: _File
    input: _Input
    encryption: str | None


@dataclass(frozen=True)
class Description:
    """What is beside an exported file.

    Attributes:
        card: of the model.
        shape: of the input, (N, c, S, S); N None for any.
        encrypted: whether the file takes a key.
    """

    card: ModelCard
    shape: tuple[int | None, ...]
    encrypted: bool


def read_description(path: Path) -> Description:
    """What stands beside an exported file, after checking that the file is what was exported.

    It is read for that, and again by whatever loads it: MindSpore takes no bytes. The second time it comes from memory.

    Raises:
        UserError: file or description missing, a field of it that is not what it should be, or a file of another size
            or SHA-256.
    """
    if not path.is_file():
        raise UserError(f"there is no exported model {path}: neonext export writes one")
    beside = manifest_path(path)
    try:
        values = parse_json(read_regular(beside))
    except FileNotFoundError:
        raise UserError(
            f"{path} has no card {beside.name} beside it: export it with neonext export, and keep both files together"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"the card {beside} cannot be read ({error}): {AGAIN}") from None
    if values.get("format") != FORMAT:
        raise UserError(f"{beside} is not a card of format {FORMAT}: {AGAIN}")
    card = ModelCard.from_dict(values, str(path), str(beside))
    read = read_fields(_Fields, {key: values.get(key) for key in _Fields.__dataclass_fields__}, str(beside))
    shape, side = read.input.shape, card.preprocess.image_size
    if len(shape) != 4 or shape[2:] != (side, side) or not all(n is not None and n >= 1 for n in shape[1:]):
        raise UserError(f"{beside}: input: shape must be N, c, {side}, {side}, got {list(shape)}")
    if shape[0] is not None and shape[0] < 1:
        raise UserError(f"{beside}: input: shape must begin with a batch of at least 1 or null, got {list(shape)}")
    if fingerprint(path) != (read.file.bytes, read.file.sha256):
        raise UserError(f"{path} is not the file that its card describes, it is cut short or changed: export it again")
    return Description(card, shape, read.encryption is not None)


def describes(beside: Path, name: str) -> bool:
    """Whether a file is one that `export` has written beside an exported file of this name."""
    try:
        values = parse_json(read_regular(beside))
        return values["format"] == FORMAT and values["file"]["name"] == name and "verification" in values
    except (OSError, ValueError, KeyError, TypeError):
        return False


def fingerprint(path: Path) -> tuple[int, str]:
    """Bytes and SHA-256 of a file."""
    with open(path, "rb") as file:
        digest = sha256(file)
        return file.tell(), digest


def copy(source: Path, target: Path) -> dict:
    """Copy a file, with the permissions that the user's umask asks for, and fsync it; its bytes and SHA-256."""
    shutil.copyfile(source, target)
    with open(target, "rb") as file:
        os.fsync(file.fileno())
    size, digest = fingerprint(target)
    return {"bytes": size, "sha256": digest}
