"""A data set packed into MindRecord files by `neonext pack`: few large files in the place of many small ones.

The files are MindSpore's (its MindDataset reads them too), but are read here without it: the SQLite index beside each
says where in it every image file lies, and a sample is one read from there. Layout of a packed data set:

    pack.json                            classes and, of each split, the shards with samples, bytes and SHA-256
    train-00000.mindrecord, .mindrecord.db, ...; val-00000.mindrecord, ...
"""

import hashlib
import io
import json
import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from operator import index
from pathlib import Path
from urllib.parse import quote

import numpy as np

from neonext_ms.data.decode import read_image, read_region
from neonext_ms.data.names import Names
from neonext_ms.data.sources.base import IMAGENET_MEAN, IMAGENET_STD, Source
from neonext_ms.errors import UserError

FORMAT = 1
PACK_FILE = "pack.json"
CHECKED_BYTES = 1 << 30  # a second or two
_LENGTH = struct.Struct("<Q")  # stands before the bytes of every field in a MindRecord page
_QUERY = (
    "SELECT PAGE_ID_BLOB, PAGE_OFFSET_BLOB, PAGE_OFFSET_BLOB_END, label_0, path_0 FROM INDEXES ORDER BY ROW_ID LIMIT ?"
)


class PackedSource(Source):
    """Image files inside MindRecord files, read when asked for.

    Args:
        shards: the MindRecord files.
        shard, starts, lengths: for each sample its file and where in it the image file lies; (n,).
        paths: for each sample where it was packed from, for messages.
    """

    def __init__(self, name, class_names, labels, shards: list[Path], shard, starts, lengths, paths: list[str]):
        super().__init__(name, class_names, labels, IMAGENET_MEAN, IMAGENET_STD)
        self.shards = shards
        self.shard, self.starts, self.lengths = shard, starts, lengths
        self.paths = Names(paths)
        self._files = {}  # open shards of this process

    def __getstate__(self):
        return {**self.__dict__, "_files": {}}

    def data(self, index: int) -> bytes:
        """The image file of one sample. Raises: UserError when it cannot be read."""
        number = int(self.shard[index])
        try:
            if number not in self._files:
                self._files[number] = open(self.shards[number], "rb")  # noqa: SIM115 - stays open
            start, length = int(self.starts[index]), int(self.lengths[index])
            return os.pread(self._files[number].fileno(), length, start)
        except OSError as error:
            raise UserError(f"cannot read '{self.describe(index)}': {error.strerror}") from error

    def image(self, index):
        return read_image(io.BytesIO(self.data(index)), self.describe(index))

    def region(self, index, choose, side):
        return read_region(io.BytesIO(self.data(index)), self.describe(index), choose, side)

    def describe(self, index):
        return f"{self.shards[int(self.shard[index])]}:{self.paths[index]}"

    def sample_names(self):
        return map(self.paths.tail, range(len(self.paths)))


def open_packed(folder: Path, split: str) -> PackedSource:
    """Open one split of a packed data set, whose shards are what they were when they were packed.

    Their sizes, samples and labels are compared with pack.json, and the bytes too where these are CHECKED_BYTES or
    less: more would keep every start waiting.
    """
    path = folder / PACK_FILE
    class_names, shards = _read_pack(path, split)
    columns, paths = [], []
    for number, shard in enumerate(shards):
        file = folder / shard["name"]
        if not file.is_file() or file.stat().st_size != shard["bytes"]:
            raise UserError(f"'{file}' is missing or has not {shard['bytes']} bytes: copy it, or pack it again")
        rows = list(shard_rows(file, len(class_names), shard["samples"]))
        if len(rows) != shard["samples"]:
            raise UserError(f"'{file}.db' lists {len(rows)} samples instead of {shard['samples']}: pack it again")
        if rows_digest(rows) != shard.get("index", rows_digest(rows)):
            raise UserError(f"'{file}.db' lists other samples or labels than were packed: copy it, or pack it again")
        columns += [(number, *row[:3]) for row in rows]
        paths += [row[3] for row in rows]
    if sum(shard["bytes"] for shard in shards) <= CHECKED_BYTES:
        for shard in shards:
            if file_digest(folder / shard["name"]) != shard["sha256"]:
                raise UserError(f"'{folder / shard['name']}' is not what was packed: copy it, or pack it again")
    number, starts, lengths, labels = np.array(columns, np.int64).reshape(-1, 4).T
    files = [folder / shard["name"] for shard in shards]
    return PackedSource(f"mindrecord/{split}", class_names, labels, files, number, starts, lengths, paths)


def _read_pack(path: Path, split: str) -> tuple[list[str], list[dict]]:
    """Class names, and what pack.json says of each shard of a split: name, samples, bytes, sha256 and others."""
    if not path.is_file():
        raise UserError(f"'{path}' does not exist: data_dir must be a folder that `neonext pack` has finished")
    try:
        pack = json.loads(path.read_text(encoding="utf-8"))
        known, class_names, shards = pack["format"], pack["class_names"], pack["splits"][split]
        if known != FORMAT:
            raise UserError(
                f"'{path}' has the format {known}, and this version reads {FORMAT}: pack the data set again"
            )
        _check("class_names", class_names, _is_list_of(str, class_names) and len(class_names) > 0)
        _check(split, shards, _is_list_of(dict, shards) and len(shards) > 0)
        for shard in shards:
            _check("shard", shard, all(isinstance(shard[key], str) for key in ("name", "sha256")))
            _check("shard", shard, all(type(shard[key]) is int and shard[key] > 0 for key in ("samples", "bytes")))
    except UserError:
        raise
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"'{path}' is damaged ({type(error).__name__}: {reason}): pack the data set again") from None
    for shard in shards:
        if Path(shard["name"]).name != shard["name"] or "\0" in shard["name"]:
            raise UserError(f"'{path}' names a file outside its folder, {shard['name']!r}: pack the data set again")
    return class_names, shards


def _is_list_of(kind: type, values) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def _check(what: str, value, holds: bool):
    if not holds:
        raise ValueError(f"{what} is {str(value)[:100]}")


def shard_rows(file: Path, classes: int, most: int) -> Iterator[tuple[int, int, int, str]]:
    """For each sample of a MindRecord file: first byte and length of its image file, label, path it was packed from.

    Args:
        file: the MindRecord file, beside which its index lies.
        classes: of the data set; labels are below.
        most: samples expected; one more is read at most.
    Raises: UserError: file or index are not what MindRecord makes, or point beyond the file.
    """
    try:
        with open(file, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            header = json.loads(stream.read(min(size, _LENGTH.unpack(stream.read(_LENGTH.size))[0])))
        header_size, page_size = header["header_size"], header["page_size"]
        name = quote(os.fsencode(Path(f"{file}.db").resolve()))
        with closing(sqlite3.connect(f"file:{name}?mode=ro", uri=True)) as database:
            # It may be anybody's: no functions of its own, no endless query, no value that fills the memory.
            database.execute("PRAGMA trusted_schema=OFF")
            if hasattr(database, "setlimit"):  # from Python 3.11 on
                database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1 << 20)
            budget = iter(range(most + 100))
            database.set_progress_handler(lambda: next(budget, None) is None, 100)
            for *numbers, path in database.execute(_QUERY, (most + 1,)):
                page, start, end, label = map(index, numbers)
                first = header_size + page * page_size + start + _LENGTH.size
                length = end - start - _LENGTH.size
                if not (0 <= first <= size and 0 <= length <= size - first and 0 <= label < classes):
                    raise ValueError(f"the sample '{path}' lies outside, or has the label {label}")
                yield first, length, label, path + ""
    except (OSError, ValueError, LookupError, TypeError, RecursionError, struct.error, sqlite3.Error) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"cannot read '{file}' and the index beside it ({reason}): copy both, or pack it again"
        ) from None


def rows_digest(rows: list[tuple]) -> str:
    """SHA-256 of what `shard_rows` gives."""
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}") from None
    return digest.hexdigest()
