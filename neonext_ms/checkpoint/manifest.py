"""The manifest beside a checkpoint: JSON whose last line is the SHA-256 of all lines before it."""

import hashlib
import json
from pathlib import Path

from neonext_ms.errors import UserError
from neonext_ms.files import write_atomically

FORMAT = 2
NEEDED = {"format", "file", "model", "parameters", "preprocess", "class_names"}


def manifest_path(path: Path) -> Path:
    """Where the manifest of a checkpoint (or the card of an export) stands."""
    return path.with_name(path.name + ".json")


def write_manifest(path: Path, manifest: dict):
    """Write a manifest under this name, whole or not at all."""
    body = json.dumps({"format": FORMAT, **manifest}, indent=1).removesuffix("\n}").encode()
    write_atomically(path, body + _seal(body))


def parse_manifest(path: Path) -> dict:
    """Read and check a manifest.

    Raises:
        FileNotFoundError: there is none.
        UserError: it cannot be read, or is not what was written.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise UserError(f"the manifest {path} cannot be read ({error.strerror}): use another checkpoint") from None
    length = len(_seal(b""))
    # The checksum first: what does not carry it is not even parsed.
    manifest = json.loads(data) if data[-length:] == _seal(data[:-length]) else None
    if manifest is None:
        raise UserError(f"the manifest {path} is not what was written (its checksum is wrong): use another checkpoint")
    if manifest.get("format") != FORMAT or not NEEDED <= set(manifest):
        raise UserError(f"{path} is not a checkpoint manifest of format {FORMAT}: use another checkpoint")
    del manifest["manifest_sha256"]
    return manifest


def _seal(body: bytes) -> bytes:
    """The end of a manifest."""
    return f',\n "manifest_sha256": "{hashlib.sha256(body).hexdigest()}"\n}}'.encode()
