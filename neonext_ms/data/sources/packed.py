"""A data set packed by `neonext pack`: few large files in the place of many small ones. Layout:

pack.json                            kind, classes and, of each split, the shards with samples, bytes and SHA-256
train-00000.mindrecord, .mindrecord.db, ...; val-00000.mindrecord, ...      of the kind mindrecord
train-00000.tar, ...; val-00000.tar, ...                                    of the kind tar; parquet likewise
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from neonext_ms.data.sources.checked import check_shards
from neonext_ms.data.sources.mindrecord import mindrecord_rows
from neonext_ms.data.sources.parquet import ParquetSource, open_parquet, parquet_rows
from neonext_ms.data.sources.stored import StoredSource
from neonext_ms.data.sources.tar import open_tar, tar_rows
from neonext_ms.errors import UserError
from neonext_ms.files import open_regular
from neonext_ms.terminal import printable

FORMAT = 1
PACK_FILE = "pack.json"
ROWS = {"mindrecord": mindrecord_rows, "tar": tar_rows, "parquet": parquet_rows}  # what reads a shard
INDEX = {"mindrecord": ".db", "tar": "", "parquet": ""}  # what the name of its index ends in
_TEXTS, _NUMBERS = ("name", "sha256"), ("samples", "bytes")  # of a shard
_FOREIGN = {"tar": open_tar, "parquet": open_parquet}  # what opens the files of other programs


def open_packed(kind: str, folder: Path, split: str) -> StoredSource:
    """Open one split of a packed data set, or tar or Parquet files of other programs; kind: of ROWS.

    The shards of a packed one are what they were when they were packed: their sizes, samples, labels and digests are
    compared with pack.json; see `checked`.
    """
    path = folder / PACK_FILE
    if kind in _FOREIGN and not path.exists():
        return _FOREIGN[kind](folder, split)
    class_names, shards = _read_pack(path, kind, split)
    columns, paths = [], []
    for number, shard in enumerate(shards):
        file = folder / shard["name"]
        if not file.is_file() or file.stat().st_size != shard["bytes"]:
            raise UserError(f"'{file}' is missing or has not {shard['bytes']} bytes: copy it, or pack it again")
        rows = list(ROWS[kind](file, len(class_names), shard["samples"]))
        if len(rows) != shard["samples"]:
            raise UserError(
                f"'{file}{INDEX[kind]}' lists {len(rows)} samples instead of {shard['samples']}: pack it again"
            )
        if rows_digest(rows) != shard.get("index", rows_digest(rows)):
            raise UserError(
                f"'{file}{INDEX[kind]}' lists other samples or labels than were packed: copy it, or pack it again"
            )
        columns += [(number, *row[:3]) for row in rows]
        paths += [row[3] for row in rows]
    check_shards(folder, shards)
    number, starts, lengths, labels = np.array(columns, np.int64).reshape(-1, 4).T
    files = [folder / shard["name"] for shard in shards]
    opened = ParquetSource if kind == "parquet" else StoredSource
    return opened(f"{kind}/{split}", class_names, labels, files, number, starts, lengths, paths)


def _read_pack(path: Path, kind: str, split: str) -> tuple[list[str], list[dict]]:
    """Class names, and what pack.json says of each shard of a split: name, samples, bytes, sha256 and others."""
    if not path.is_file():
        raise UserError(f"'{path}' does not exist: data_dir must be a folder that `neonext pack` has finished")
    try:
        with open_regular(path) as file:
            pack = json.load(file)
        known, class_names, shards = pack["format"], pack["class_names"], pack["splits"][split]
        if known != FORMAT:
            raise UserError(
                f"'{path}' has the format {_shown(known)}, and this version reads {FORMAT}: pack the data set again"
            )
        if (other := pack.get("kind", "mindrecord")) != kind:
            raise UserError(f"'{path}' is of a data set packed as {_shown(other)}: use dataset={_shown(other)}")
        _check("class_names", class_names, _is_list_of(str, class_names) and len(class_names) > 0)
        _check(split, shards, _is_list_of(dict, shards) and len(shards) > 0)
        for shard in shards:
            _check("shard", shard, all(isinstance(shard[key], str) and len(shard[key]) < 200 for key in _TEXTS))
            _check("shard", shard, all(type(shard[key]) is int and 0 < shard[key] < 1 << 53 for key in _NUMBERS))
    except UserError:
        raise
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        reason = _shown(error)
        raise UserError(f"'{path}' is damaged ({type(error).__name__}: {reason}): pack the data set again") from None
    for shard in shards:
        if Path(shard["name"]).name != shard["name"] or "\0" in shard["name"]:
            raise UserError(f"'{path}' names a file outside its folder, {shard['name']!r}: pack the data set again")
    return class_names, shards


def _is_list_of(kind: type, values) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def _check(what: str, value, holds: bool):
    if not holds:
        raise ValueError(f"{what} is {_shown(value)}")


def _shown(value) -> str:
    return printable(" ".join(str(value)[:200].split()))[:200]


def rows_digest(rows: list[tuple]) -> str:
    """SHA-256 of what `shard_rows` gives."""
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
