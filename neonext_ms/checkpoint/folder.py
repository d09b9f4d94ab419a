"""Model folders: a trained model as others take it, made to be published.

    config.json         the model's card, and size and SHA-256 of the weights
    model.safetensors   the parameters and BatchNorm statistics under this package's names
    README.md           the same for people

Reading one runs nothing from it. The names are those that Hugging Face Hub's tools look for.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from neonext_ms.checkpoint.card import ModelCard
from neonext_ms.checkpoint.fields import parse_json, read_fields
from neonext_ms.checkpoint.safetensors_file import parse_safetensors
from neonext_ms.checkpoint.store import Checkpoint, check_finite
from neonext_ms.errors import UserError

FORMAT = 1
CONFIG, WEIGHTS, README = "config.json", "model.safetensors", "README.md"


@dataclass(frozen=True)
class _File:
    name: str
    bytes: int
    sha256: str


def read_folder(path: Path) -> Checkpoint:
    """The weights and the card of a model folder, after checking that every byte is what was written.

    Raises:
        UserError: it is no such folder, or is damaged; names the file and the reason.
    """
    config, weights = path / CONFIG, path / WEIGHTS
    if not config.is_file() or not weights.is_file():
        best = next(path.glob("checkpoints/*_best.ckpt"), None)
        hint = f"its best checkpoint is {best}" if best else "neonext export --format folder makes one"
        raise UserError(f"{path} is no model folder, it has no {CONFIG} and {WEIGHTS}: {hint}")
    try:
        values, size = parse_json(config.read_bytes()), weights.stat().st_size
    except (OSError, ValueError) as error:
        raise UserError(f"{config} cannot be read ({error}): export the model again") from None
    if values.get("library_name") != "neonext_ms" or values.get("format") != FORMAT:
        raise UserError(f"{config} is not of a model folder of format {FORMAT}: export the model again")
    card = ModelCard.from_dict(values, str(path), str(config))
    written = read_fields(_File, values.get("file"), f"{config}: file")
    data = weights.read_bytes() if size == written.bytes else b""
    if hashlib.sha256(data).hexdigest() != written.sha256:
        raise UserError(f"{weights} is not what {CONFIG} describes, it is cut short or changed: copy it again")
    parameters = parse_safetensors(data, weights)
    check_finite(parameters, str(weights))
    return Checkpoint(path, parameters, None, card, values)
