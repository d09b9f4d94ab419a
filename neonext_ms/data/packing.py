"""Packing a folder of images into MindRecord files."""

import hashlib
import json
import logging
import os
import shutil
import time
from pathlib import Path

from neonext_ms.data.sources.folder import FolderSource, open_folder
from neonext_ms.data.sources.packed import FORMAT, PACK_FILE, shard_rows
from neonext_ms.errors import UserError
from neonext_ms.files import publish, write_atomically

SPLITS = ("train", "val")
PARTIAL = ".partial"
PAGE_BYTES = 32 << 20  # of a MindRecord file; an image file must fit into one
NOTHING = b"\0"  # in the place of an empty file: MindRecord holds no empty field
GROUP = 256  # image files handed to MindRecord at once

log = logging.getLogger(__name__)


def pack(data_dir: Path, output: Path, shard_images: int) -> dict:
    """Write data_dir/{train,val}/<class>/<image> as MindRecord files, in the order in which the folder is listed.

    A training run on the result gets the same samples in the same order as one on the folder. The image files go in
    as they are; an empty one, or one that cannot be opened, as a zero byte, so that it stays a bad file.

    A shard appears under its name when it is complete and has been read back and compared; when the command is
    started again after an interruption, such shards stay, and the others are written.

    Args:
        data_dir: the folder.
        output: folder to write to, made if it does not exist.
        shard_images: images in a MindRecord file.
    Returns: samples and bytes of each split, shards written and kept.
    Raises: UserError: data_dir is no such folder, or output holds something else.
    """
    if shard_images < 1:
        raise UserError(f"shard_images must be 1 or more, got {shard_images}")
    sources = {split: open_folder(data_dir, split) for split in SPLITS}
    output.mkdir(parents=True, exist_ok=True)
    foreign = [name for name in os.listdir(output) if not _is_ours(name)]
    if foreign:
        raise UserError(f"'{output}' holds other files, such as '{foreign[0]}': give a new or empty folder")
    splits, result = {}, {"written": 0, "kept": 0}
    for split, source in sources.items():
        progress = _Progress(split, len(source))
        splits[split] = []
        for first in range(0, len(source), shard_images):
            samples = range(first, min(first + shard_images, len(source)))
            name = f"{split}-{first // shard_images:05}.mindrecord"
            card, kept = _shard(source, data_dir, samples, output / name)
            splits[split].append(card)
            result["kept" if kept else "written"] += 1
            progress.report(samples.stop, kept)
        result[split] = {key: sum(card[key] for card in splits[split]) for key in ("samples", "bytes")}
    shutil.rmtree(output / PARTIAL, ignore_errors=True)
    extra = sorted(path.name for path in output.glob("*.mindrecord") if not _is_listed(path.name, splits))
    if extra:
        raise UserError(f"'{output / extra[0]}' is from another packing: remove it, or give a new or empty folder")
    pack_file = {"format": FORMAT, "class_names": sources["train"].class_names, "splits": splits}
    write_atomically(output / PACK_FILE, json.dumps(pack_file, indent=1))
    return result


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


def _shard(source: FolderSource, data_dir: Path, samples: range, file: Path) -> tuple[dict, bool]:
    """Write and check one shard unless it is there; returns what pack.json says of it, and whether it was there."""
    relative = [os.path.relpath(source.paths[index], data_dir) for index in samples]
    listing = hashlib.sha256("\0".join(relative).encode()).hexdigest()
    card_file = Path(f"{file}.json")
    if card_file.exists():
        card = json.loads(card_file.read_text(encoding="utf-8"))
        if card["listing"] != listing:
            raise UserError(f"'{file}' was packed from other images than '{data_dir}' has: give a new or empty folder")
        return card, True
    partial = file.parent / PARTIAL
    shutil.rmtree(partial, ignore_errors=True)  # of an interrupted run
    partial.mkdir()
    unfinished = partial / file.name  # MindRecord files know their own name: it must be the final one
    digests = _write(source, samples, relative, unfinished)
    card = {
        "name": file.name,
        "samples": len(samples),
        "bytes": unfinished.stat().st_size,
        "sha256": _check(unfinished, digests, source.labels[samples.start : samples.stop].tolist(), relative),
        "listing": listing,
    }
    for suffix in ("", ".db"):
        with open(f"{unfinished}{suffix}", "rb") as stream:
            os.fsync(stream.fileno())
        publish(Path(f"{unfinished}{suffix}"), Path(f"{file}{suffix}"))
    write_atomically(card_file, json.dumps(card))  # last: a shard with a card is complete
    return card, False


def _write(source: FolderSource, samples: range, relative: list[str], file: Path) -> list[bytes]:
    """Write one MindRecord file; returns the SHA-256 of every image file."""
    from mindspore.mindrecord import FileWriter

    writer = FileWriter(str(file), shard_num=1)
    writer.set_page_size(PAGE_BYTES)  # bytes, although its documentation says KB
    writer.add_schema({"data": {"type": "bytes"}, "label": {"type": "int32"}, "path": {"type": "string"}}, "images")
    writer.add_index(["label", "path"])
    digests = []
    for first in range(0, len(samples), GROUP):
        rows = []
        for index, path in zip(samples[first : first + GROUP], relative[first : first + GROUP]):
            data = _read(source.paths[index])
            digests.append(hashlib.sha256(data).digest())
            rows.append({"data": data, "label": int(source.labels[index]), "path": path})
        writer.write_raw_data(rows)
    writer.commit()
    return digests


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError as error:
        log.warning("cannot read '%s' (%s); it is packed as a zero byte", path, error.strerror)
        data = b""
    if len(data) > PAGE_BYTES // 2:
        raise UserError(
            f"'{path}' has {len(data)} bytes, and MindRecord holds {PAGE_BYTES // 2} at most: make it smaller"
        )
    return data or NOTHING


def _check(file: Path, digests: list[bytes], labels: list[int], relative: list[str]) -> str:
    """Read a finished shard back as training does, and compare; returns its SHA-256."""
    rows = list(shard_rows(file))
    with open(file, "rb") as stream:
        found = [hashlib.sha256(os.pread(stream.fileno(), length, start)).digest() for start, length, _, _ in rows]
        whole = hashlib.sha256()
        while chunk := stream.read(1 << 20):
            whole.update(chunk)
    if found != digests or [(label, path) for _, _, label, path in rows] != list(zip(labels, relative)):
        raise UserError(f"'{file.name}' does not read back as it was written: check the disk and pack again")
    return whole.hexdigest()


def _is_ours(name: str) -> bool:
    return name in (PACK_FILE, PARTIAL) or name.endswith((".mindrecord", ".mindrecord.db", ".mindrecord.json"))


def _is_listed(name: str, splits: dict[str, list[dict]]) -> bool:
    return any(card["name"] == name for cards in splits.values() for card in cards)
