"""The manifest beside a checkpoint: JSON whose last line is the SHA-256 of all lines before it.

It holds the model's card, and size, SHA-256, names, shapes and types of what the files hold. The checksum shows damage;
it does not show that somebody else wrote the file, so every field is checked as well.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from neonext_ms.checkpoint.fields import parse_json, read_fields
from neonext_ms.errors import UserError
from neonext_ms.files import read_regular, write_atomically
from neonext_ms.texts import to_json

FORMAT = 2
ADVICE = "use another checkpoint"


@dataclass(frozen=True)
class WrittenFile:
    """What a manifest says of a file: its name, size and SHA-256, and {shape, dtype} of what it holds by name."""

    name: str
    bytes: int
    sha256: str
    parameters: dict


def manifest_path(path: Path) -> Path:
    """Where the manifest of a checkpoint, or the description of an exported file, stands."""
    return path.with_name(path.name + ".json")


def write_manifest(path: Path, manifest: dict):
    """Write a manifest under this name, whole or not at all."""
    body = to_json({"format": FORMAT, **manifest}, indent=1).removesuffix("\n}").encode()
    write_atomically(path, body + _seal(body))


def parse_manifest(path: Path) -> dict:
    """Read and check a manifest.

    Raises:
        FileNotFoundError: there is none.
        UserError: it cannot be read, or is not what was written.
    """
    try:
        data = read_regular(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise UserError(f"the manifest {path} cannot be read ({error.strerror}): {ADVICE}") from None
    length = len(_seal(b""))
    # The checksum first: what does not carry it is not even parsed.
    if data[-length:] != _seal(data[:-length]):
        raise UserError(f"the manifest {path} is not what was written (its checksum is wrong): {ADVICE}")
    try:
        manifest = parse_json(data)
    except ValueError as error:
        raise UserError(f"the manifest {path} cannot be read ({error}): {ADVICE}") from None
    if manifest.get("format") != FORMAT:
        raise UserError(f"{path} is not a checkpoint manifest of format {FORMAT}: {ADVICE}")
    del manifest["manifest_sha256"]
    return manifest


def written_files(manifest: dict, where: str) -> dict[str, WrittenFile]:
    """The files of a checkpoint by kind: "file" holds the weights, "state", if there is one, what training needs.

    Raises:
        UserError: names the field of the manifest that is not what it should be.
    """
    weights = manifest.get("file")
    if isinstance(weights, dict):
        weights = {**weights, "parameters": manifest.get("parameters")}
    kinds = {"file": weights, **({"state": manifest["state"]} if "state" in manifest else {})}
    return {kind: read_fields(WrittenFile, values, f"{where}: {kind}") for kind, values in kinds.items()}


def _seal(body: bytes) -> bytes:
    """The end of a manifest."""
    return f',\n "manifest_sha256": "{hashlib.sha256(body).hexdigest()}"\n}}'.encode()
