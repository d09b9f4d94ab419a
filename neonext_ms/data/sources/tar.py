"""Tar files in the order of WebDataset, read in place: of every sample an image and its label, under one key.

    train-00000.tar: a/1.jpg a/1.cls a/2.png a/2.json ...

The key is the name up to the first dot after the last slash. The label is a number: the text of .cls, or "label" (or
"cls") in the object of .json. Where the files are, see `stored.find_shards`.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from neonext_ms.data.image_files import extensions
from neonext_ms.data.sources.stored import StoredSource, all_rows, find_class_names, find_shards
from neonext_ms.errors import UserError
from neonext_ms.files import open_regular

BLOCK = 512
_MOST_TEXT = 1 << 20  # bytes of a label or a long name
_FILE, _LONG_NAME, _EXTENDED = b"0\0", b"L", b"x"


def open_tar(data_dir: Path, split: str) -> StoredSource:
    """Open one split of tar files that other programs wrote; class names from a text file, else the numbers."""
    files = find_shards(data_dir, split, ".tar")
    numbers, rows = all_rows(files, tar_rows)
    names = find_class_names(data_dir, split, ".tar", rows, tar_rows)
    starts, lengths, labels = (np.array([row[at] for row in rows], np.int64) for at in range(3))
    return StoredSource(f"tar/{split}", names, labels, files, numbers, starts, lengths, [row[3] for row in rows])


def tar_rows(file: Path, classes: int, most: int) -> Iterator[tuple[int, int, int, str]]:
    """For each sample of a tar file: first byte and length of its image file, label, key.

    Args:
        file: the tar file, not compressed.
        classes: labels are below.
        most: samples expected; one more is read at most.
    Raises: UserError: the file is damaged, or a sample has no label.
    """
    image = label = key = None
    count = 0
    try:
        with open_regular(file) as stream:
            for name, start, length in _members(stream):
                stem, _, ending = name.rpartition("/")[2].partition(".")
                its_key = f"{name.rpartition('/')[0]}/{stem}".lstrip("/")
                if its_key != key:
                    if image:
                        yield _row(image, label, key, classes)
                        count += 1
                    if count > most:
                        return
                    image, label, key = None, None, its_key
                ending = f".{ending.lower()}"
                if ending in (".cls", ".json"):
                    found = _label(os.pread(stream.fileno(), min(length, _MOST_TEXT), start), ending)
                    label = label if found is None else found
                elif ending in extensions():
                    image = start, length
            if image:
                yield _row(image, label, key, classes)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"cannot read '{file}' ({reason}): copy it again, or pack it as a tar that is not compressed"
        ) from None


def _row(image: tuple[int, int], label: int | None, key: str, classes: int) -> tuple[int, int, int, str]:
    if label is None:
        raise ValueError(f"the sample '{key}' has no label in .cls or .json")
    if not 0 <= label < classes:
        raise ValueError(f"the sample '{key}' has the label {label}, of {classes} classes")
    return *image, label, key


def _label(text: bytes, ending: str) -> int | None:
    if ending == ".cls":
        return int(text[:64])
    values = json.loads(text)
    found = values.get("label", values.get("cls")) if isinstance(values, dict) else None
    return found if type(found) is int else None


def _members(stream) -> Iterator[tuple[str, int, int]]:
    """Name, first byte and length of every file; Python's own reader takes ten times as long."""
    size, at, name = os.fstat(stream.fileno()).st_size, 0, None
    while len(head := os.pread(stream.fileno(), BLOCK, at)) == BLOCK and head != bytes(BLOCK):
        checksum = head[148:156].split(b"\0")[0].strip()
        if not checksum.isdigit() or checksum != b"%0*o" % (len(checksum), sum(head[:148] + b" " * 8 + head[156:])):
            raise ValueError(f"no tar header at byte {at}")
        length, kind = _number(head[124:136]), head[156:157]
        start = at + BLOCK
        if length > size - start:
            raise ValueError(f"it is cut short at byte {size}")
        if kind in (_LONG_NAME, _EXTENDED):
            text = os.pread(stream.fileno(), min(length, _MOST_TEXT), start)
            name = text.rstrip(b"\0") if kind == _LONG_NAME else _path(text) or name
        else:
            if kind in _FILE:
                yield os.fsdecode(name or _name(head)), start, length
            name = None
        at = start + -(-length // BLOCK) * BLOCK
    if at == 0:
        raise ValueError("no tar header at byte 0")


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # more than octal digits hold
        return int.from_bytes(field[1:], "big")
    return int(field.split(b"\0")[0].strip() or b"0", 8)


def _name(head: bytes) -> bytes:
    name, prefix = (part.split(b"\0")[0] for part in (head[:100], head[345:500]))
    return prefix + b"/" + name if prefix and head[257:262] == b"ustar" else name


def _path(text: bytes) -> bytes | None:
    """Of an extended header: lines of their length, a blank, key=value."""
    while text:
        length, _, _ = text.partition(b" ")
        line, text = text[: int(length)], text[max(int(length), 1) :]
        key, _, value = line[len(length) + 1 : -1].partition(b"=")
        if key == b"path":
            return value
    return None
