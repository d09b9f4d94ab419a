"""Parquet files with a column of images, as Hugging Face's data sets have them, read in place by pyarrow.

The column "image" holds the bytes of image files, or {bytes, path}; "label" whole numbers. Class names are those of
Hugging Face's metadata, of a text file, or the numbers. An image is read with its row group, of which a few are kept:
groups of about a hundred rows, as they are usual for images, are best.
"""

import json
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from neonext_ms.data.sources.stored import Row, StoredSource, all_rows, find_class_names, find_shards
from neonext_ms.errors import NotInstalled, UserError
from neonext_ms.files import open_regular

_IMAGES, _LABELS = ("image", "img", "jpg", "png", "webp"), ("label", "labels", "cls", "fine_label")
_KEPT = 4  # row groups of a process
_NO_IMAGE = b"\0"


class ParquetSource(StoredSource):
    """Image files in Parquet files; `starts` are the numbers of their rows."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._groups = OrderedDict()

    def __getstate__(self):
        return {**super().__getstate__(), "_groups": OrderedDict()}

    def data(self, index):
        number, row = int(self.shard[index]), int(self.starts[index])
        try:
            if number not in self._files:
                file = open_file(self.shards[number])
                sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
                self._files[number] = file, np.cumsum([0, *sizes])
            file, firsts = self._files[number]
            group = int(np.searchsorted(firsts, row, "right")) - 1
            if (number, group) not in self._groups:
                self._groups[number, group] = _images(file, group)
                if len(self._groups) > _KEPT:
                    self._groups.popitem(last=False)
            return self._groups[number, group][row - int(firsts[group])].as_py() or _NO_IMAGE
        except _errors() as error:
            raise UserError(f"cannot read '{self.describe(index)}': {_reason(error)}") from error


def open_parquet(data_dir: Path, split: str) -> ParquetSource:
    """Open one split of Parquet files that other programs wrote."""
    files = find_shards(data_dir, split, ".parquet")
    numbers, rows = all_rows(files, parquet_rows)
    classes = 1 + max(row[2] for row in rows)
    names = _names_in(files[0])
    if names is None or len(names) < classes:
        names = find_class_names(data_dir, split, ".parquet", rows, parquet_rows)
    starts, lengths, labels = (np.array([row[at] for row in rows], np.int64) for at in range(3))
    return ParquetSource(f"parquet/{split}", names, labels, files, numbers, starts, lengths, [row[3] for row in rows])


def parquet_rows(file: Path, classes: int, most: int) -> Iterator[Row]:
    """For each sample of a Parquet file: number of its row, 0, label, path or number.

    Args:
        file: the Parquet file.
        classes: labels are below.
        most: samples expected; one more is read at most.
    Raises: UserError: the file is damaged, or has other columns or labels.
    """
    try:
        opened = open_file(file)
        image, nested = _image_column(opened)
        label = _column(opened, _LABELS)
        has_path = nested and opened.schema_arrow.field(image).type.get_field_index("path") >= 0
        row = 0
        for group in range(opened.num_row_groups):
            columns = [label, *([f"{image}.path"] if has_path else [])]
            table = opened.read_row_group(group, columns=columns, use_threads=False)
            paths = table.column(image).combine_chunks().field("path").to_pylist() if has_path else [None] * len(table)
            for value, path in zip(table.column(label).to_pylist(), paths):
                if type(value) is not int or not 0 <= value < classes:
                    raise ValueError(f"row {row} has the label {value!r}, of {classes} classes")
                if not isinstance(path, str | None):
                    raise ValueError(f"row {row} has a path that is no text")
                yield row, 0, value, path or str(row)
                row += 1
                if row > most:
                    return
    except _errors() as error:
        raise UserError(f"cannot read '{file}' ({_reason(error)}): copy it again") from None


def parquet_images(file: Path) -> Iterator[bytes]:
    """All image files of a Parquet file, in their order."""
    opened = open_file(file)
    for group in range(opened.num_row_groups):
        yield from (value.as_py() or _NO_IMAGE for value in _images(opened, group))


def import_parquet():
    """pyarrow's module of Parquet files. Raises: UserError: it is not installed."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise NotInstalled("dataset or format 'parquet'", "'pyarrow<22'") from None
    return parquet


def open_file(path: Path):
    """A Parquet file; errors as `import_parquet` and pyarrow's own."""
    parquet = import_parquet()
    open_regular(path).close()  # else it would wait for a pipe
    return parquet.ParquetFile(path, memory_map=True)


def _errors() -> tuple[type[Exception], ...]:
    """What pyarrow raises on damaged files; its own are of these too."""
    return OSError, ValueError, LookupError, TypeError, NotImplementedError, OverflowError, MemoryError


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _column(file, names: tuple[str, ...]) -> str:
    for name in names:
        if name in file.schema_arrow.names:
            return name
    raise ValueError(f"it has the columns {', '.join(file.schema_arrow.names)}, and none of {', '.join(names)}")


def _image_column(file) -> tuple[str, bool]:
    """Its name, and whether it holds {bytes, path}."""
    name = _column(file, _IMAGES)
    kind = str(file.schema_arrow.field(name).type)
    if not kind.startswith(("binary", "large_binary", "struct<bytes: ")):
        raise ValueError(f"its column {name} holds {kind[:80]}, and not the bytes of image files")
    return name, kind.startswith("struct")


def _images(file, group: int):
    """An array of the image files of a row group."""
    name, nested = _image_column(file)
    column = file.read_row_group(group, columns=[f"{name}.bytes" if nested else name], use_threads=False).column(name)
    array = column.combine_chunks()
    return array.field("bytes") if nested else array


def _names_in(path: Path) -> list[str] | None:
    """Class names in Hugging Face's metadata."""
    file = open_file(path)
    try:
        features = json.loads((file.schema_arrow.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[_column(file, _LABELS)]["names"]
        return list(map(str, names)) if isinstance(names, list) else None
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
