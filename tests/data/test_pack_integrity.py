"""A packed data set is of the images that are there, and what was packed; anything else is told in one line."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from neonext_ms.data import open_source, packing
from neonext_ms.data.packing import pack
from neonext_ms.data.sources import checked
from neonext_ms.data.sources import packed as packed_source
from neonext_ms.errors import UserError

SHARD, OTHER = "train-00000.mindrecord", "train-00001.mindrecord"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("folder")
    rng = np.random.RandomState(0)
    for split in ("train", "val"):
        for i in range(6):
            path = root / split / ("cat", "dog")[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.randint(0, 256, (12, 15, 3)).astype(np.uint8)).save(path)
    return root


@pytest.fixture(scope="module")
def packed(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("packed")
    pack(folder, output, 3)
    return output


@pytest.fixture
def copies(folder, packed, tmp_path):
    """(folder, packed), to change; the times of the images are those of the originals."""
    shutil.copytree(folder, tmp_path / "images")
    shutil.copytree(packed, tmp_path / "packed")
    return tmp_path / "images", tmp_path / "packed"


@pytest.mark.parametrize("change", ["content", "content of the same size", "label"])
def test_images_that_have_changed_are_not_kept(copies, change):
    images, output = copies
    path = images / "train" / "cat" / "2.png"
    data = path.read_bytes()
    if change == "label":
        for split in ("train", "val"):
            (images / split / "ant").mkdir()
            shutil.copy(path, images / split / "ant" / "0.png")
    else:
        path.write_bytes(data + b"more" if change == "content" else data[:-1] + b"?")
    before = {file.name: file.read_bytes() for file in output.iterdir()}
    with pytest.raises(UserError, match=f"'.*{SHARD}' was packed from (images whose content|other images than)"):
        pack(images, output, 3)
    assert {file.name: file.read_bytes() for file in output.iterdir()} == before


def test_images_that_were_only_touched_are_kept(copies):
    images, output = copies
    for path in images.rglob("*.png"):
        os.utime(path, (1, 1))
    assert pack(images, output, 3)["kept"] == 4
    assert pack(images, output, 3)["kept"] == 4


def test_a_shard_without_its_file_is_written_anew(copies):
    images, output = copies
    (output / SHARD).unlink()
    (output / "val-00000.mindrecord.db").unlink()
    (output / "val-00001.mindrecord.json").write_text("{")
    result = pack(images, output, 3)
    assert (result["kept"], result["written"]) == (1, 3)
    assert len(open_source("mindrecord", output, "val")) == 6


def change_a_byte(output):
    with open(output / SHARD, "r+b") as file:
        data = file.read()
        at = data.rindex(b"IDAT") + 30
        file.seek(at)
        file.write(bytes([data[at] ^ 1]))


def change_index(statement):
    def change(output):
        database = sqlite3.connect(output / f"{SHARD}.db")
        database.execute(statement)
        database.commit()
        database.close()

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (change_a_byte, f"{SHARD}' is not what was packed: copy it, or pack it again"),
        (change_index("UPDATE INDEXES SET label_0 = 1 - label_0"), "lists other samples or labels than were packed"),
        (change_index("UPDATE INDEXES SET path_0 = 'x'"), "lists other samples or labels than were packed"),
        (change_index("UPDATE INDEXES SET PAGE_OFFSET_BLOB = PAGE_OFFSET_BLOB + 1"), "lists other samples or labels"),
        (change_index("UPDATE INDEXES SET label_0 = 2"), "has the label 2"),
        (change_index("UPDATE INDEXES SET label_0 = -1"), "has the label -1"),
        (change_index("UPDATE INDEXES SET label_0 = 0.5"), "and the index beside it"),
        (change_index("UPDATE INDEXES SET PAGE_ID_BLOB = 1 << 60"), "lies outside"),
        (change_index("UPDATE INDEXES SET PAGE_OFFSET_BLOB_END = 0"), "lies outside"),
        (change_index("DELETE FROM INDEXES"), "lists 0 samples instead of 3"),
    ],
)
def test_shards_and_labels_are_what_was_packed(copies, change, message):
    _, output = copies
    change(output)
    with pytest.raises(UserError) as caught:
        open_source("mindrecord", output, "train")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_large_data_sets_do_not_make_every_start_wait(copies, monkeypatch):
    """The bytes of more than a gigabyte are read once, and again when something has changed or copied them."""
    folder, output = copies
    monkeypatch.setattr(checked, "EVERY_TIME", 1000)
    read, digest = [], checked.file_digest
    monkeypatch.setattr(checked, "file_digest", lambda path: read.append(path.name) or digest(path))
    for _ in range(2):
        assert len(open_source("mindrecord", output, "train")) == 6
    assert read == [SHARD, OTHER]
    assert pack(folder, output, 3)["written"] == 0, "the note is no file of others"
    os.chmod(output / SHARD, 0o640)
    shutil.copytree(output, copy := output.with_name("copy"))  # with the times of the files, as cp -p does
    for place in (output, copy):
        assert len(open_source("mindrecord", place, "train")) == 6
    assert read[2:] == [SHARD, SHARD, OTHER]
    read.clear()
    change_a_byte(output)
    for _ in range(2):
        with pytest.raises(UserError, match="is not what was packed"):
            open_source("mindrecord", output, "train")
    for damage in (b"[1]", b"[" * 100_000, b"\xff"):
        (copy / checked.NOTE).write_bytes(damage)
        assert len(open_source("mindrecord", copy, "train")) == 6
    assert read == [SHARD] * 2 + [SHARD, OTHER] * 3


def test_large_data_sets_that_cannot_be_noted_are_compared_by_sizes_alone_which_is_said(copies, monkeypatch, caplog):
    _, output = copies
    monkeypatch.setattr(checked, "EVERY_TIME", 1000)
    monkeypatch.setattr(os, "access", lambda *_: False)  # as for anybody but root in a folder that is read only
    assert len(open_source("mindrecord", output, "train")) == 6
    assert "cannot be written to" in caplog.text and "only their sizes are compared" in caplog.text
    assert not (output / checked.NOTE).exists()


ENDLESS = (
    "DROP TABLE INDEXES; CREATE VIEW INDEXES AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) "
    "SELECT i AS ROW_ID, {} AS PAGE_ID_BLOB, 0 AS PAGE_OFFSET_BLOB, 9 AS PAGE_OFFSET_BLOB_END, 0 AS label_0, "
    "{} AS path_0 FROM n"
)


@pytest.mark.parametrize("what", [("0", "'x'"), ("0", "hex(zeroblob(900000000))"), ("zeroblob(900000000)", "'x'")])
def test_an_index_with_a_trap_takes_neither_time_nor_memory(copies, what):
    _, output = copies
    database = sqlite3.connect(output / f"{SHARD}.db")
    database.executescript(ENDLESS.format(*what))
    database.close()
    begin = time.process_time()
    tracemalloc.start()
    with pytest.raises(UserError, match="and the index beside it"):
        open_source("mindrecord", output, "train")
    assert time.process_time() - begin < 1 and tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_one_process_packs_into_a_folder(folder, tmp_path):
    program = "import sys, time; from neonext_ms.files import locked\n"
    program += "with locked(sys.argv[1], 'x'): print(1, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(UserError, match=f"another process packs into '{tmp_path}': wait for it"):
            pack(folder, tmp_path, 3)
        assert os.listdir(tmp_path) == []
        other.kill()
    assert pack(folder, tmp_path, 3)["written"] == 4


def test_images_that_are_too_large_are_named_before_the_work_begins(copies, tmp_path):
    images, _ = copies
    for name in ("y.tif", "z.tif"):
        with open(images / "val" / "dog" / name, "wb") as file:
            file.truncate((128 << 20) + 1)
    with pytest.raises(
        UserError, match="dog/y.tif' has 134217729 bytes, and mindrecord holds 134217728 .*, as 1 more:"
    ):
        pack(images, tmp_path / "new", 3)
    assert not (tmp_path / "new").exists()


def test_an_image_of_more_than_16_mib_is_packed(copies, tmp_path):
    """As scans are; the pages of its shard are larger."""
    images, _ = copies
    pixels = np.random.RandomState(0).randint(0, 256, (2500, 2400, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(images / "val" / "dog" / "scan.tif")
    pack(images, tmp_path / "new", 10)
    source = open_source("mindrecord", tmp_path / "new", "val")
    np.testing.assert_array_equal(source.image(6), pixels)


def test_a_file_that_grows_while_it_is_packed_is_named(folder, tmp_path, monkeypatch):
    entries = packing._entries
    monkeypatch.setattr(packing, "_entries", lambda *a: [entry._replace(size=entry.size - 1) for entry in entries(*a)])
    with pytest.raises(UserError, match="cat/0.png' has changed while it was packed"):
        pack(folder, tmp_path / "new", 3)


def mutated(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice((1, 2, 8))):
        at = rng.randrange(len(data))
        choice = rng.random()
        if choice < 0.5:
            data[at] = rng.randrange(256)
        elif choice < 0.7:
            del data[at : at + rng.choice((1, 10, 200))]
        else:
            data[at:at] = rng.choice((b"[" * 2000, b'{"', b"null", b"9" * 500, b"-1", b'"a"', rng.randbytes(9)))
        data = data or bytearray(b"?")
    return bytes(data)


@pytest.mark.parametrize("name, rounds", [("pack.json", 150), (SHARD, 80), (f"{SHARD}.db", 120)])
def test_fuzzed_packs(copies, monkeypatch, name, rounds):
    """Only a source or a UserError, in a second and little memory, and no sample beyond the file."""
    _, output = copies
    monkeypatch.setattr(packed_source, "check_shards", lambda *_: None)
    rng = random.Random(name)
    size = (output / SHARD).stat().st_size
    with open(output / name, "rb") as file:
        data = file.read(20000)  # of a shard its header; its size stays, so that it is looked at
    tracemalloc.start()
    for _ in range(rounds):
        if name == SHARD:
            with open(output / name, "r+b") as file:
                file.write(mutated(rng, data)[:20000])
        else:
            (output / name).write_bytes(mutated(rng, data))
        begin = time.process_time()
        try:
            source = open_source("mindrecord", output, "train")
            assert 0 <= source.starts.min() and (source.starts + source.lengths).max() <= size
            source.image(0)
        except UserError as error:
            assert "\n" not in str(error)
        assert time.process_time() - begin < 1
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    "change",
    [
        {"class_names": "cat"},
        {"class_names": ["cat", 1]},
        {"class_names": []},
        {"splits": []},
        {"splits": {"train": []}},
        {"splits": {"train": [{}]}},
        {"splits": {"train": [{"name": "a", "sha256": "", "samples": True, "bytes": 1}]}},
        {"splits": {"train": [{"name": "a\0", "sha256": "", "samples": 1, "bytes": 1}]}},
        {"splits": {"train": [{"name": "a", "sha256": "", "samples": -1, "bytes": 1}]}},
        {"format": "1"},
        {"format": "a\nb\x1b[2J" + "9" * 5000},
        {"kind": "a\nb\x1b[2J" + "9" * 5000},
        {"splits": {"train": [{"name": "9" * 5000, "sha256": "", "samples": 1, "bytes": 1}]}},
        {"splits": {"train": [{"name": "a", "sha256": "", "samples": 1 << 64, "bytes": 1}]}},
    ],
)
def test_a_pack_file_of_wrong_types_is_one_line(copies, change):
    _, output = copies
    text = {**json.loads((output / "pack.json").read_text()), **change}
    (output / "pack.json").write_text(json.dumps(text))
    with pytest.raises(UserError, match="pack the data set again|use dataset=a b") as caught:
        open_source("mindrecord", output, "train")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000
