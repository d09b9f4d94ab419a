"""Tar files of other programs: read as they are, and named where they cannot be."""

import io
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from neonext_ms.data import open_source
from neonext_ms.errors import UserError
from tests.support.shards import LABELS, add, encoded, write_tars


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize(
    "names",
    [
        ("train-000.tar", "train-001.tar", "imagenet-val-0.tar"),
        ("train/0.tar", "train/1.tar", "validation/0.tar"),
        ("data/train-a.tar", "data/train-b.tar", "data/valid-a.tar"),
    ],
)
def test_tar_files_of_other_programs(tmp_path, names, form):
    write_tars(tmp_path, names, form)
    for name in names:  # as macOS writes beside files on foreign disks
        (tmp_path / name).with_name(f"._{(tmp_path / name).name}").write_bytes(b"no tar file")
    source = open_source("tar", tmp_path, "train")
    assert source.labels.tolist() == 2 * LABELS and source.class_names == ["0", "1", "2"]
    for index in range(12):
        form = ("JPEG", "PNG", "PNG", "PNG", "WEBP", "BMP")[index % 6]
        np.testing.assert_array_equal(
            source.image(index), np.asarray(Image.open(io.BytesIO(encoded(index % 6, form))).convert("RGB"))
        )
    assert source.describe(9) == f"{tmp_path / names[1]}:näme"
    assert len(open_source("tar", tmp_path, "val")) == 6
    (tmp_path / "classes.txt").write_bytes("\ufeffcat\r\ndog\r\nbird\r\n".encode())
    assert open_source("tar", tmp_path, "val").class_names == ["cat", "dog", "bird"]
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(UserError, match="classes.txt' names 2 classes, but there is the label 2"):
        open_source("tar", tmp_path, "train")


def test_both_splits_have_the_classes_of_the_one_with_more(tmp_path):
    for split, labels in (("train", (0, 4)), ("val", (0, 1))):
        with tarfile.open(tmp_path / f"{split}.tar", "w") as tar:
            for number, label in enumerate(labels):
                add(tar, f"{number}.png", encoded(number))
                add(tar, f"{number}.cls", str(label).encode())
    for split in ("train", "val"):
        assert open_source("tar", tmp_path, split).class_names == list("01234")


def spoil(change):
    def spoiled(path):
        path.write_bytes(change(path.read_bytes()))

    return spoiled


@pytest.mark.parametrize(
    "change, message",
    [
        (spoil(lambda data: b""), "no tar header at byte 0"),
        (spoil(lambda data: b"x" * 5000), "no tar header at byte 0"),
        (spoil(lambda data: data[:3000]), "cut short at byte 3000"),
        (spoil(lambda data: data.replace(b"2\n", b"xx", 1)), "invalid literal"),
        (spoil(lambda data: data.replace(b"2\n", b"-1", 1)), "has the label -1"),
        (
            spoil(lambda data: data.replace(b"2\n", b"9" * 2 + b"", 1).replace(b"key0.cls", b"key0.txt")),
            "no tar header",
        ),
        (lambda path: path.unlink(), "holds no .tar files of train"),
        (lambda path: os.rename(path, f"{path}.gz"), "holds no .tar files of train"),
    ],
)
def test_damaged_tar_files_are_named(tmp_path, change, message):
    path = write_tars(tmp_path, ("train.tar",)) / "train.tar"
    change(path)
    with pytest.raises(UserError) as caught:
        open_source("tar", tmp_path, "train")
    assert message in str(caught.value) and str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_sample_without_a_label_is_named(tmp_path):
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        add(tar, "a/1.png", encoded(1))
    with pytest.raises(UserError, match="the sample 'a/1' has no label in .cls or .json"):
        open_source("tar", tmp_path, "train")
