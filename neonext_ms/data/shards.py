"""How `neonext pack` writes shards: MindRecord files, tar files in the order of WebDataset, or Parquet files."""

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from neonext_ms.data.sources.parquet import parquet_images
from neonext_ms.data.sources.stored import Row

PAGE_BYTES = 32 << 20  # of a MindRecord file; an image file must fit into one, twice
MOST_PAGE_BYTES = 256 << 20  # by MindRecord
GROUP_BYTES = 64 << 20  # image files handed to MindRecord at once
GROUP_ROWS = 64  # of a Parquet file: what is read to have one of them


class Entry(NamedTuple):
    """An image file as it is found.

    number: in its split; path: relative to data_dir, as UTF-8; size: 0 if it cannot be read; changed: its time.
    """

    number: int
    file: str
    path: str
    label: int
    size: int
    changed: int


Read = Callable[[Entry], bytes]


class Kind(NamedTuple):
    """A kind of shards.

    write: an unfinished file, of image files that it reads; images: of a finished one, given the rows of its reader;
    name: of a row; endings: of the files of a shard; most: bytes of an image file.
    """

    write: Callable[[list[Entry], Path, Read], None]
    images: Callable[[Path, list[Row]], Iterator[bytes]]
    name: Callable[[Entry], str]
    endings: tuple[str, ...]
    most: int


def _write_mindrecord(entries: list[Entry], file: Path, read: Read):
    from mindspore.mindrecord import FileWriter

    page = PAGE_BYTES
    while page < 2 * max(entry.size for entry in entries):
        page *= 2
    writer = FileWriter(str(file), shard_num=1)
    writer.set_page_size(page)  # bytes, although its documentation says KB
    writer.add_schema({"data": {"type": "bytes"}, "label": {"type": "int32"}, "path": {"type": "string"}}, "images")
    writer.add_index(["label", "path"])
    rows, held = [], 0
    for entry in entries:
        data = read(entry)
        rows.append({"data": data, "label": entry.label, "path": entry.path})
        held += len(data)
        if held >= GROUP_BYTES or entry is entries[-1]:
            writer.write_raw_data(rows)
            rows, held = [], 0
    writer.commit()


def _write_tar(entries: list[Entry], file: Path, read: Read):
    with tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as tar:
        for entry in entries:
            about = json.dumps({"label": entry.label, "path": entry.path})
            image = os.path.splitext(entry.path)[1].lower(), read(entry)
            for ending, data in (image, (".cls", str(entry.label).encode()), (".json", about.encode())):
                member = tarfile.TarInfo(_key(entry) + ending)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def _write_parquet(entries: list[Entry], file: Path, read: Read):
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("label", pa.int64())])
    with ParquetWriter(file, schema, compression="none", use_dictionary=False) as writer:
        for first in range(0, len(entries), GROUP_ROWS):
            group = entries[first : first + GROUP_ROWS]
            images = [{"bytes": read(entry), "path": entry.path} for entry in group]
            columns = [pa.array(images, image), pa.array([entry.label for entry in group], pa.int64())]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=GROUP_ROWS)


def _key(entry: Entry) -> str:
    return f"{entry.number:09}"


def _path(entry: Entry) -> str:
    return entry.path


def _stored_images(file: Path, rows: list[Row]) -> Iterator[bytes]:
    with open(file, "rb") as stream:
        for start, length, _, _ in rows:
            yield os.pread(stream.fileno(), length, start)


def _parquet_images(file: Path, rows: list[Row]) -> Iterator[bytes]:
    return parquet_images(file)


KINDS = {
    "mindrecord": Kind(_write_mindrecord, _stored_images, _path, ("", ".db"), MOST_PAGE_BYTES // 2),
    "tar": Kind(_write_tar, _stored_images, _key, ("",), (8 << 30) - 1),
    "parquet": Kind(_write_parquet, _parquet_images, _path, ("",), (1 << 31) // GROUP_ROWS),
}
