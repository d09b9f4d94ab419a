"""Packed data sets hold what the folder holds, survive interruptions, and are read by MindSpore too."""

import json
import os
import pickle
import shutil
import sqlite3

import numpy as np
import pytest
from PIL import Image

from neonext_ms.data import Loader, Preprocess, TrainTransform, open_source, packing, shards
from neonext_ms.data.packing import pack
from neonext_ms.data.sources.mindrecord import mindrecord_rows
from neonext_ms.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """11 + 3 images in two classes, one of them damaged and one that cannot be opened."""
    root = tmp_path_factory.mktemp("folder")
    rng = np.random.RandomState(0)
    for split, count in (("train", 11), ("val", 3)):
        for i in range(count):
            path = root / split / ("cat", "dög")[i % 2] / "deep" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.randint(0, 256, (12 + i, 15, 3)).astype(np.uint8)).save(path)
    (root / "train" / "cat" / "text.jpg").write_text("no picture")
    (root / "train" / "cat" / "link.jpg").symlink_to(root / "nowhere")
    return root


@pytest.fixture(scope="module")
def packed(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("packed") / "new" / "set"
    result = pack(folder, output, 5)
    assert result["written"] == 3 + 1 and result["kept"] == 0
    assert result["train"]["samples"] == 13 and result["val"]["samples"] == 3
    return output


def snapshot(output):
    return {name: (output / name).stat().st_mtime_ns for name in os.listdir(output)}


@pytest.mark.parametrize("split", ["train", "val"])
def test_samples_are_those_of_the_folder(folder, packed, split):
    files, records = (open_source(*where, split) for where in (("folder", folder), ("mindrecord", packed)))
    assert records.class_names == files.class_names == ["cat", "dög"]
    np.testing.assert_array_equal(records.labels, files.labels)
    readable = 0
    for index, path in enumerate(files.paths):
        assert records.describe(index).endswith(f".mindrecord:{os.path.relpath(path, folder)}")
        if path.endswith(".jpg"):
            with pytest.raises(UserError, match="cannot read '.*mindrecord:train/cat/(text|link).jpg' as an image"):
                records.image(index)
            continue
        np.testing.assert_array_equal(records.image(index), files.image(index))
        readable += 1
    assert readable == (11 if split == "train" else 3)


def test_training_stream_is_that_of_the_folder(folder, packed):
    """The same pixels in the same order, from worker processes too, bad files and all."""
    transform = TrainTransform(Preprocess(8, (0.5,) * 3, (0.25,) * 3), "resized")
    streams = [
        list(
            Loader(
                open_source(*where, "train"), transform, 4, training=True, num_workers=workers, max_bad_share=0.5
            ).epoch(1)
        )
        for where, workers in ((("folder", folder), 0), (("mindrecord", packed), 0), (("mindrecord", packed), 1))
    ]
    for batches in streams[1:]:
        assert len(batches) == len(streams[0]) == 3
        for batch, expected in zip(batches, streams[0]):
            np.testing.assert_array_equal(batch.images, expected.images)
            np.testing.assert_array_equal(batch.indices, expected.indices)


def test_mindspore_reads_it(folder, packed):
    from mindspore.dataset import MindDataset

    files = sorted(str(path) for path in packed.glob("train-*.mindrecord"))
    rows = list(MindDataset(files, shuffle=False, num_parallel_workers=1).create_dict_iterator(output_numpy=True))
    source = open_source("folder", folder, "train")
    found = {str(row["path"]): (bytes(row["data"]), int(row["label"])) for row in rows}
    assert len(found) == len(rows) == 13
    for path, label in zip(source.paths, source.labels):
        data = b"\0" if path.endswith("link.jpg") else open(path, "rb").read()
        assert found[os.path.relpath(path, folder)] == (data, label)


def test_several_pages(tmp_path, monkeypatch):
    """Files of more than one page, as all large ones are."""
    monkeypatch.setattr(shards, "PAGE_BYTES", 32 << 10)
    rng = np.random.RandomState(1)
    for split in ("train", "val"):
        for i in range(12):
            path = tmp_path / "images" / split / "a" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.randint(0, 256, (40 + i, 100, 3)).astype(np.uint8)).save(path)
    pack(tmp_path / "images", tmp_path / "out", 100)
    source = open_source("mindrecord", tmp_path / "out", "train")
    database = sqlite3.connect(f"{source.shards[0]}.db")
    assert database.execute("SELECT COUNT(DISTINCT PAGE_ID_BLOB) FROM INDEXES").fetchone()[0] > 5
    database.close()
    files = open_source("folder", tmp_path / "images", "train")
    for index in range(12):
        np.testing.assert_array_equal(source.image(index), files.image(index))


def test_started_again_it_goes_on(folder, packed, tmp_path):
    """An interruption leaves complete shards and rests in .partial; the end is that of one go."""
    output = tmp_path / "out"
    shutil.copytree(packed, output)
    for name in ("pack.json", "train-00001.mindrecord.json", "train-00002.mindrecord"):
        (output / name).unlink()
    (output / "train-00002.mindrecord.json").unlink()
    (output / ".partial").mkdir()
    (output / ".partial" / "train-00001.mindrecord").write_bytes(b"half of it")
    for name in ("pack.json", "train-00001.mindrecord.json"):
        (output / f".{name}.0123abcd").write_bytes(b"half of it")
    before = snapshot(output)
    result = pack(folder, output, 5)
    assert result["kept"] == 2 and result["written"] == 2
    after = snapshot(output)
    for name in ("train-00000.mindrecord", "train-00000.mindrecord.db", "val-00000.mindrecord"):
        assert after[name] == before[name]
    assert ".partial" not in after and after.keys() == snapshot(packed).keys()
    for index in range(3):
        np.testing.assert_array_equal(
            open_source("mindrecord", output, "val").image(index), open_source("folder", folder, "val").image(index)
        )
    again = snapshot(output)
    assert pack(folder, output, 5)["written"] == 0
    assert {**snapshot(output), "pack.json": 0} == {**again, "pack.json": 0}


def test_nothing_of_others_is_touched(folder, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files, such as 'thesis.txt': give a new or empty folder"):
        pack(folder, tmp_path, 5)
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_a_folder_that_changed(folder, packed, tmp_path):
    output, changed = tmp_path / "out", tmp_path / "images"
    shutil.copytree(packed, output)
    shutil.copytree(folder, changed, symlinks=True)
    (changed / "train" / "cat" / "deep" / "0.png").unlink()
    before = snapshot(output)
    with pytest.raises(UserError, match="train-00000.mindrecord' was packed from other images than '.*images' has"):
        pack(changed, output, 5)
    with pytest.raises(UserError, match="was packed from other images"):
        pack(folder, output, 6)
    assert snapshot(output) == before


def test_a_shard_that_does_not_read_back(folder, tmp_path, monkeypatch):
    """A disk that loses a byte: nothing appears under a final name."""
    replace = packing._write

    def write(entries, file):
        digests = replace(entries, file)
        start, length, *_ = next(iter(mindrecord_rows(file, 2, 5)))
        with open(file, "r+b") as stream:
            stream.seek(start + length // 2)
            stream.write(b"?")
        return digests

    monkeypatch.setattr(packing, "_write", write)
    with pytest.raises(UserError, match="'train-00000.mindrecord' does not read back as it was written"):
        pack(folder, tmp_path / "out", 5)
    assert os.listdir(tmp_path / "out") == [".partial"]


def rename_shard(packed, name):
    text = (packed / "pack.json").read_text()
    (packed / "pack.json").write_text(text.replace('"train-00000.mindrecord"', json.dumps(name)))


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda p: (p / "pack.json").unlink(),
            "pack.json' does not exist: data_dir must be a folder that `neonext pack`",
        ),
        (lambda p: (p / "pack.json").write_text("{"), "pack.json' is damaged"),
        (lambda p: (p / "pack.json").write_text('{"format": 1}'), "pack.json' is damaged"),
        (
            lambda p: (p / "pack.json").write_text(
                json.dumps({**json.loads((p / "pack.json").read_text()), "format": 2})
            ),
            "has the format 2, and this version",
        ),
        (lambda p: rename_shard(p, "../set/train-00000.mindrecord"), "names a file outside its folder, '../set"),
        (lambda p: rename_shard(p, str(p / "train-00000.mindrecord")), "names a file outside its folder, '/"),
        (lambda p: (p / "train-00001.mindrecord").unlink(), "train-00001.mindrecord' is missing or has not"),
        (lambda p: os.truncate(p / "train-00001.mindrecord", 5000), "train-00001.mindrecord' is missing or has not"),
        (lambda p: (p / "train-00000.mindrecord.db").unlink(), "train-00000.mindrecord' and the index beside it"),
        (lambda p: (p / "train-00000.mindrecord.db").write_bytes(b"x" * 9999), "and the index beside it"),
        (
            lambda p: shutil.copy(p / "train-00002.mindrecord.db", p / "train-00001.mindrecord.db"),
            "lists 3 samples instead of 5",
        ),
    ],
)
def test_damaged_data_sets(packed, tmp_path, change, message):
    shutil.copytree(packed, tmp_path / "set")
    change(tmp_path / "set")
    with pytest.raises(UserError) as caught:
        open_source("mindrecord", tmp_path / "set", "train")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_bad_arguments(folder, tmp_path):
    with pytest.raises(UserError, match="shard_images must be 1 or more, got 0"):
        pack(folder, tmp_path / "out", 0)
    with pytest.raises(UserError, match="is not a folder"):
        pack(tmp_path / "none", tmp_path / "out", 5)
    assert not (tmp_path / "out").exists()


def test_a_source_that_was_used_can_be_sent_to_a_worker(packed):
    source = open_source("mindrecord", packed, "val")
    expected = source.image(1)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).image(1), expected)
