"""Packing a folder of images into few large files."""

import hashlib
import json
import logging
import os
import shutil
import stat
import time
from pathlib import Path

from neonext_ms.data.shards import KINDS, Entry, Kind
from neonext_ms.data.sources.checked import NOTE, file_digest
from neonext_ms.data.sources.folder import FolderSource, open_folder
from neonext_ms.data.sources.packed import FORMAT, PACK_FILE, ROWS, rows_digest
from neonext_ms.data.sources.parquet import import_parquet
from neonext_ms.errors import UserError
from neonext_ms.files import locked, name_of_hidden, open_regular, publish, write_atomically
from neonext_ms.texts import to_json

SPLITS = ("train", "val")
PARTIAL = ".partial"
NOTHING = b"\0"  # in the place of an empty file, of which MindRecord holds none
_DAMAGED = "does not read back as it was written"
_CHANGED = "was packed from images whose content or classes were others"

log = logging.getLogger(__name__)


def pack(data_dir: Path, output: Path, shard_images: int, kind: str = "mindrecord") -> dict:
    """Write data_dir/{train,val}/<class>/<image> into large files, in the order in which the folder is listed.

    A training run on the result gets the same samples in the same order as one on the folder. The image files go in
    as they are; an empty one, or one that cannot be opened, as a zero byte, so that it stays a bad file.

    A shard appears under its name when it is complete and has been read back and compared; when the command is
    started again after an interruption, such shards stay, if the images are still those, and the others are written.

    Args:
        data_dir: the folder.
        output: folder to write to, made if it does not exist.
        shard_images: images in a file.
        kind: of the files, one of `shards.KINDS`.
    Returns: samples and bytes of each split, shards written and kept.
    Raises: UserError: data_dir is no such folder or has an image that is too large, output holds something else, or
        another process packs into it.
    """
    if shard_images < 1:
        raise UserError(f"shard_images must be 1 or more, got {shard_images}")
    if kind == "parquet":
        import_parquet()
    sources = {split: open_folder(data_dir, split) for split in SPLITS}
    found = {split: _entries(source, data_dir) for split, source in sources.items()}
    _check_sizes([entry for entries in found.values() for entry in entries], kind)
    output.mkdir(parents=True, exist_ok=True)
    with locked(output, "packs into"):
        foreign = [name for name in os.listdir(output) if not _is_ours(name, kind)]
        if foreign:
            raise UserError(f"'{output}' holds other files, such as '{foreign[0]}': give a new or empty folder")
        splits, result = {}, {"written": 0, "kept": 0}
        for split, entries in found.items():
            splits[split], kept = _pack_split(output / f"{split}-#.{kind}", entries, data_dir, shard_images)
            result["kept"] += kept
            result["written"] += len(splits[split]) - kept
            result[split] = {key: sum(card[key] for card in splits[split]) for key in ("samples", "bytes")}
        shutil.rmtree(output / PARTIAL, ignore_errors=True)
        extra = sorted(path.name for path in output.glob(f"*.{kind}") if not _is_listed(path.name, splits))
        if extra:
            raise UserError(f"'{output / extra[0]}' is from another packing: remove it, or give a new or empty folder")
        pack_file = {"format": FORMAT, "kind": kind, "class_names": sources["train"].class_names, "splits": splits}
        write_atomically(output / PACK_FILE, to_json(pack_file, indent=1))
    return result


def _entries(source: FolderSource, data_dir: Path) -> list[Entry]:
    entries = []
    for number, (file, label) in enumerate(zip(source.paths, source.labels.tolist())):
        try:
            status = os.stat(file)
            size, changed = (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else (0, 0)
        except OSError:
            size = changed = 0
        relative = os.fsencode(os.path.relpath(file, data_dir))
        # Texts in large files are UTF-8; other names are written with escapes.
        entries.append(Entry(number, file, relative.decode("utf-8", "backslashreplace"), label, size, changed))
    return entries


def _check_sizes(entries: list[Entry], kind: str):
    """Before anything is written, which may take hours."""
    most = KINDS[kind].most
    large = [entry for entry in entries if entry.size > most]
    if large:
        raise UserError(
            f"'{large[0].file}' has {large[0].size} bytes, and {kind} holds {most} at most"
            + (f", as {len(large) - 1} more" if len(large) > 1 else "")
            + ": make it smaller, or train from the folder"
        )


def _pack_split(pattern: Path, entries: list[Entry], data_dir: Path, shard_images: int) -> tuple[list[dict], int]:
    """The cards of all shards, whose numbers stand for the # of the pattern, and how many were kept."""
    progress, cards, count = _Progress(pattern.name.partition("-")[0], len(entries)), [], 0
    for first in range(0, len(entries), shard_images):
        name = pattern.name.replace("#", f"{first // shard_images:05}")
        shard = entries[first : first + shard_images]
        card, kept = _shard(shard, data_dir, pattern.with_name(name))
        cards.append(card)
        count += kept
        progress.report(first + len(shard), kept)
    return cards, count


class _Progress:
    """A line of the log for each shard."""

    def __init__(self, split: str, total: int):
        self.split, self.total = split, total
        self.begin, self.done_before = time.perf_counter(), 0

    def report(self, done: int, kept: bool):
        if kept:
            self.done_before = done
        rate = (done - self.done_before) / (time.perf_counter() - self.begin)
        left = f", {rate:.0f} images/s, {(self.total - done) / rate:.0f} s left" if rate else ", kept from before"
        log.info("%s: %d of %d images%s", self.split, done, self.total, left)


def _shard(entries: list[Entry], data_dir: Path, file: Path) -> tuple[dict, bool]:
    """Write and check one shard unless it is there; returns what pack.json says of it, and whether it was there."""
    card_file = Path(f"{file}.json")
    card = _kept(entries, data_dir, file, card_file)
    if card:
        return card, True
    partial = file.parent / PARTIAL
    shutil.rmtree(partial, ignore_errors=True)  # of an interrupted run
    partial.mkdir()
    unfinished = partial / file.name  # MindRecord files know their own name: it must be the final one
    digests = _write(entries, unfinished)
    rows = _read_back(unfinished, entries, digests)
    card = {
        "name": file.name,
        "samples": len(entries),
        "bytes": unfinished.stat().st_size,
        "sha256": file_digest(unfinished),
        "listing": _listing(entries),
        "state": _state(entries),
        "index": rows_digest(rows),
    }
    for suffix in _kind(file).endings:
        publish(Path(f"{unfinished}{suffix}"), Path(f"{file}{suffix}"))
    write_atomically(card_file, to_json(card))  # last: a shard with a card is complete
    return card, False


def _kept(entries: list[Entry], data_dir: Path, file: Path, card_file: Path) -> dict | None:
    """The card of a shard from before, None if there is none to keep; UserError if it is of other images."""
    try:
        with open_regular(card_file) as stream:
            card = json.load(stream)
        listing, size = card["listing"], card["bytes"]
        whole = file.stat().st_size == size and card["samples"] == len(entries)
        whole = whole and all(Path(f"{file}{suffix}").is_file() for suffix in _kind(file).endings)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    if listing != _listing(entries):
        raise UserError(f"'{file}' was packed from other images than '{data_dir}' has: give a new or empty folder")
    if not whole:
        return None
    if card.get("state") != _state(entries):  # the images were touched, or copied anew: are they the same?
        digests = [_digest(_read(entry)) for entry in entries]
        rows = _read_back(file, entries, digests, _CHANGED)
        card = {**card, "state": _state(entries), "index": rows_digest(rows)}
        write_atomically(card_file, to_json(card))
    return card


def _listing(entries: list[Entry]) -> str:
    return _digest("\0".join(entry.path for entry in entries).encode()).hex()


def _state(entries: list[Entry]) -> str:
    """Changes with the names, sizes and times of the images."""
    return _digest(json.dumps([(entry.path, *entry[3:]) for entry in entries]).encode()).hex()


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _kind(file: Path) -> Kind:
    return KINDS[file.suffix[1:]]


def _write(entries: list[Entry], file: Path) -> list[bytes]:
    """Write one shard; returns the SHA-256 of every image file."""
    digests = []

    def read(entry: Entry) -> bytes:
        data = _read(entry)
        digests.append(_digest(data))
        return data

    _kind(file).write(entries, file, read)
    return digests


def _read(entry: Entry) -> bytes:
    try:
        with open_regular(entry.file) as stream:
            data = stream.read()
    except OSError as error:
        log.warning("cannot read '%s' (%s); it is packed as a zero byte", entry.file, error.strerror)
        return NOTHING
    if len(data) != entry.size:
        raise UserError(f"'{entry.file}' has changed while it was packed: pack again when nobody writes to it")
    return data or NOTHING


def _read_back(file: Path, entries: list[Entry], digests: list[bytes], difference: str = _DAMAGED) -> list[tuple]:
    """The rows of a shard, read as training does and compared; UserError if images, labels or names differ."""
    classes = max(entry.label for entry in entries) + 1
    rows = list(ROWS[file.suffix[1:]](file, classes, len(entries)))
    found = list(map(_digest, _kind(file).images(file, rows)))
    advice = "check the disk and pack again" if difference is _DAMAGED else "give a new or empty folder"
    name = _kind(file).name
    expected = [(digest, entry.label, name(entry)) for digest, entry in zip(digests, entries)]
    found = [(digest, *row[2:]) for digest, row in zip(found, rows)]
    if found != expected:
        wrong = next(
            (entry.path for one, other, entry in zip(found, expected, entries) if one != other), entries[-1].path
        )
        raise UserError(f"'{file.name}' {difference} (first '{wrong}'): {advice}")
    return rows


def _is_ours(name: str, kind: str) -> bool:
    endings = (*KINDS[kind].endings, ".json")
    name = name_of_hidden(name) or name  # of a packing that was killed
    return name in (PACK_FILE, NOTE, PARTIAL) or name.endswith(tuple(f".{kind}{ending}" for ending in endings))


def _is_listed(name: str, splits: dict[str, list[dict]]) -> bool:
    return any(card["name"] == name for cards in splits.values() for card in cards)
