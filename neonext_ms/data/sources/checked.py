"""Whether shards are what was packed, byte for byte, without reading terabytes at every start.

A few are read every time. What more there is, is read once (1.5 GB a second of one x86 core, or what the disk gives)
and noted beside the shards with what the file system says of each: whatever writes to a file, or copies it, changes
that, and the shard is read again. The note shows damage by copying; against somebody who may write into the folder
nothing there protects.
"""

import json
import logging
import os
from pathlib import Path

from neonext_ms.errors import UserError
from neonext_ms.files import open_regular, sha256, write_atomically
from neonext_ms.texts import to_json

NOTE = "checked.json"
EVERY_TIME = 1 << 30  # bytes; a second or two

log = logging.getLogger(__name__)


def check_shards(folder: Path, shards: list[dict]):
    """Compare shards with the digests in pack.json; what is read is noted, shard by shard, so that nothing is lost.

    Args:
        folder: of the shards.
        shards: for each its name, bytes and sha256.

    Raises:
        UserError: names the first that is not what was packed.
    """
    total = sum(shard["bytes"] for shard in shards)
    if total <= EVERY_TIME:
        due = shards
    else:
        noted = _read(folder)
        due = [shard for shard in shards if noted.get(shard["name"]) != _state(folder, shard)]
        if due and not os.access(folder, os.W_OK):
            log.warning(
                "'%s' cannot be written to, so that its %.1f GB would be read at every start to see that they are what "
                "was packed: only their sizes are compared",
                *(folder, total / 1e9),
            )
            return
        if due:
            log.info("reading %.1f GB in '%s' once, to see that they are what was packed", total / 1e9, folder)
    for shard in due:
        state = _state(folder, shard)
        if file_digest(folder / shard["name"]) != shard["sha256"]:
            raise UserError(f"'{folder / shard['name']}' is not what was packed: copy it, or pack it again")
        if total > EVERY_TIME:
            _note(folder, {shard["name"]: state})


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    try:
        with open_regular(path) as file:
            return sha256(file)
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}") from None


def _state(folder: Path, shard: dict) -> list:
    status = (folder / shard["name"]).stat()
    return [shard["sha256"], status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _read(folder: Path) -> dict:
    try:
        with open_regular(folder / NOTE) as file:
            noted = json.load(file)
        return noted if isinstance(noted, dict) else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _note(folder: Path, states: dict):
    try:
        write_atomically(folder / NOTE, to_json({**_read(folder), **states}))
    except OSError as error:
        log.warning("cannot write '%s' (%s): its shards are read again next time", folder / NOTE, error.strerror)
