"""A data set packed into MindRecord files by `neonext pack`: few large files in the place of many small ones.

The files are MindSpore's (its MindDataset reads them too), but are read here without it: the SQLite index beside each
says where in it every image file lies, and a sample is one read from there. Layout of a packed data set:

    pack.json                            classes and, of each split, the shards with samples, bytes and SHA-256
    train-00000.mindrecord, .mindrecord.db, ...; val-00000.mindrecord, ...
"""

import io
import json
import os
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from neonext_ms.data.decode import read_image, read_region
from neonext_ms.data.sources.base import IMAGENET_MEAN, IMAGENET_STD, Source
from neonext_ms.errors import UserError

FORMAT = 1
PACK_FILE = "pack.json"
_LENGTH = struct.Struct("<Q")  # stands before the bytes of every field in a MindRecord page
_QUERY = "SELECT PAGE_ID_BLOB, PAGE_OFFSET_BLOB, PAGE_OFFSET_BLOB_END, label_0, path_0 FROM INDEXES ORDER BY ROW_ID"


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
        self.paths = paths
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
        return (path.encode() for path in self.paths)


def open_packed(folder: Path, split: str) -> PackedSource:
    """Open one split of a packed data set."""
    path = folder / PACK_FILE
    if not path.is_file():
        raise UserError(f"'{path}' does not exist: data_dir must be a folder that `neonext pack` has finished")
    try:
        pack = json.loads(path.read_text(encoding="utf-8"))
        known, class_names, shards = pack["format"], pack["class_names"], pack["splits"][split]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{path}' is damaged ({type(error).__name__}: {error}): pack the data set again") from None
    if known != FORMAT:
        raise UserError(f"'{path}' has the format {known}, and this version reads {FORMAT}: pack the data set again")
    columns = []
    for number, shard in enumerate(shards):
        if Path(shard["name"]).name != shard["name"]:
            raise UserError(f"'{path}' names a file outside its folder, '{shard['name']}': pack the data set again")
        file = folder / shard["name"]
        if not file.is_file() or file.stat().st_size != shard["bytes"]:
            raise UserError(f"'{file}' is missing or has not {shard['bytes']} bytes: copy it, or pack it again")
        rows = list(shard_rows(file))
        if len(rows) != shard["samples"]:
            raise UserError(f"'{file}.db' lists {len(rows)} samples instead of {shard['samples']}: pack it again")
        columns += [(number, *row) for row in rows]
    number, starts, lengths, labels, paths = zip(*columns)
    arrays = np.array(number, np.int32), np.array(starts, np.int64), np.array(lengths, np.int64)
    files = [folder / shard["name"] for shard in shards]
    return PackedSource(f"mindrecord/{split}", class_names, labels, files, *arrays, list(paths))


def shard_rows(file: Path) -> Iterator[tuple[int, int, int, str]]:
    """For each sample of a MindRecord file: first byte and length of its image file, label, path it was packed from."""
    try:
        with open(file, "rb") as stream:
            header = json.loads(stream.read(_LENGTH.unpack(stream.read(_LENGTH.size))[0]))
        database = sqlite3.connect(f"file:{Path(f'{file}.db').resolve()}?mode=ro", uri=True)
        try:
            for page, start, end, label, path in database.execute(_QUERY):
                first = header["header_size"] + page * header["page_size"] + start + _LENGTH.size
                yield first, end - start - _LENGTH.size, label, path
        finally:
            database.close()
    except (OSError, ValueError, KeyError, struct.error, sqlite3.Error) as error:
        raise UserError(
            f"cannot read '{file}' and the index beside it ({error}): copy both, or pack it again"
        ) from None
