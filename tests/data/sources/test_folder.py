"""Folders of image files."""

import os

import numpy as np
import pytest
from PIL import Image

from neonext_ms.data import open_source
from neonext_ms.errors import UserError


def put(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (value, 0, 0)).save(path)


@pytest.fixture
def root(tmp_path):
    for split in ("train", "val"):
        put(tmp_path / split / "dog" / "b.png", 1)
        put(tmp_path / split / "cat" / "c.PNG", 2)
        put(tmp_path / split / "cat" / "deep" / "er" / "a.Jpeg", 3)
        put(tmp_path / split / "Zebra" / "a.bmp", 4)
    return tmp_path


def listing(source):
    return [(os.path.relpath(path), int(label)) for path, label in zip(source.paths, source.labels)]


def test_listing(root, monkeypatch):
    monkeypatch.chdir(root)
    (root / "train" / "cat" / "notes.txt").write_text("not an image")
    (root / "train" / "README.md").write_text("not a class")
    (root / "train" / "cat" / "._c.png").write_text("a hidden file")
    put(root / "train" / ".hidden" / "a.png")
    put(root / "train" / "cat" / ".hidden" / "a.png")
    source = open_source("folder", str(root), "train")
    assert source.class_names == ["Zebra", "cat", "dog"]
    assert source.labels.dtype == np.int32
    expected = [("Zebra/a.bmp", 0), ("cat/c.PNG", 1), ("cat/deep/er/a.Jpeg", 1), ("dog/b.png", 2)]
    assert listing(source) == [(os.path.join("train", *path.split("/")), label) for path, label in expected]
    assert source.image(3).shape == (3, 4, 3) and source.image(3)[0, 0, 0] == 1
    assert source.describe(3).endswith("b.png")


def test_listing_does_not_depend_on_the_order_of_the_file_system(root, monkeypatch):
    for number in range(20):
        put(root / "train" / "cat" / f"d{number % 3}" / f"{number}.png")
    first = listing(open_source("folder", root, "train"))
    scandir = os.scandir

    class Reversed:
        def __init__(self, path):
            with scandir(path) as entries:
                self.entries = iter(list(entries)[::-1])

        __iter__ = __enter__ = lambda self: self
        __next__ = lambda self: next(self.entries)  # noqa: E731
        __exit__ = close = lambda self, *_: None  # noqa: E731

    monkeypatch.setattr(os, "scandir", Reversed)
    assert listing(open_source("folder", root, "train")) == first


def test_links_are_followed_but_not_for_ever(root):
    put(root / "elsewhere" / "x.png")
    (root / "train" / "cat" / "link").symlink_to(root / "elsewhere")
    (root / "train" / "cat" / "loop").symlink_to(root / "train" / "cat")
    source = open_source("folder", root, "train")
    names = [os.path.basename(path) for path, label in listing(source) if label == 1]
    assert sorted(names) == ["a.Jpeg", "c.PNG", "x.png"]


def test_val_alone_can_be_opened(root):
    os.rename(root / "train", root / "moved")
    assert len(open_source("folder", root, "val")) == 4


def fails(data_dir, split, *parts):
    with pytest.raises(UserError) as caught:
        open_source("folder", data_dir, split)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_missing_split(root):
    os.rename(root / "train", root / "training")
    fails(root, "train", f"'{root / 'train'}' is not a folder", "data_dir/train/<class>/<image>")


def test_no_classes(tmp_path):
    put(tmp_path / "train" / "a.png")
    fails(tmp_path, "train", f"'{tmp_path / 'train'}' holds no class folders")


def test_empty_class(root):
    for split in ("train", "val"):
        (root / split / "bird").mkdir()
    (root / "val" / "bird" / "a.txt").write_text("not an image")
    for split in ("train", "val"):
        fails(root, split, f"'{root / split / 'bird'}' holds no image", ".jpg")


@pytest.mark.parametrize("extra", ["train", "val"])
def test_different_classes(root, extra):
    put(root / extra / "bird" / "a.png")
    for split in ("train", "val"):
        fails(root, split, "same classes", "'bird'", str(root / "train"), str(root / "val"))


def test_damaged_image_is_named_when_read(root):
    path = root / "val" / "dog" / "b.png"
    path.write_bytes(path.read_bytes()[:-30])
    source = open_source("folder", root, "val")
    with pytest.raises(UserError, match="b.png"):
        source.image(3)


@pytest.mark.parametrize("names", [["cat", "Zebra", "dog"], ["Zebra", "cat"], ["Zebra", "cat", "dog", "x"]])
def test_classes_in_another_order_are_other_classes(root, names):
    """The labels would be wrong without a word."""
    source = open_source("folder", root, "val")
    source.check_classes(["Zebra", "cat", "dog"], "the model")
    with pytest.raises(UserError, match="^the model knows the . classes .*, but folder/val has 3, Zebra, cat, dog"):
        source.check_classes(names, "the model")
