"""Which files are images: the same answer in training, packing and inference, and nothing is left out silently."""

import os
import socket

import numpy as np
import pytest
from PIL import Image

from neonext_ms.data import open_source
from neonext_ms.data.image_files import extensions, find_images, formats
from neonext_ms.data.packing import pack
from neonext_ms.deploy import image_paths
from neonext_ms.errors import UserError

PICTURE = Image.fromarray(np.random.RandomState(0).randint(0, 256, (24, 32, 3)).astype(np.uint8))


def put(path, picture=PICTURE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


@pytest.fixture
def root(tmp_path):
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            put(tmp_path / split / name / "a.png")
    return tmp_path


def names(source, label=0):
    return [os.path.basename(path) for path, of in zip(source.paths, source.labels) if of == label]


def test_every_ending_that_pillow_registers_and_reads_here_is_an_image(root):
    """But for those that only start another program, or that Pillow opens and cannot decode."""
    Image.init()
    registered = Image.registered_extensions()
    readable = {ending for ending, name in registered.items() if name in Image.OPEN or name == "MPO"}
    left_out = {registered[ending] for ending in readable - set(extensions())}
    assert left_out <= {"EPS", "IPTC", "MPEG", "WMF", "BUFR", "GRIB", "HDF5"}
    assert {".jpg", ".jfif", ".jpe", ".avif", ".jp2", ".tga", ".mpo", ".apng", ".pnm", ".dib"} <= set(extensions())
    tried = 0
    for ending in extensions():
        if registered[ending] in Image.SAVE and ending not in (".blp", ".pfm", ".im"):
            mode = {".xbm": "1", ".pbm": "1", ".msp": "1", ".fits": "L", ".pxr": "RGB"}.get(ending, "RGB")
            name = f"x{ending.upper() if tried % 2 else ending}"
            put(root / "train" / "cat" / name, PICTURE.convert(mode), format=registered[ending])
            tried += 1
    assert tried >= 30
    source = open_source("folder", root, "train")
    assert len(source) == tried + 2
    assert list(image_paths([root / "train" / "cat"])) == source.paths[:-1]
    for index in range(len(source)):
        assert source.image(index).shape[2] == 3, source.paths[index]


def test_no_image_starts_ghostscript(root, monkeypatch):
    """An EPS under the name of a PNG is no image: nothing is run to find that out."""
    import subprocess

    monkeypatch.setattr(subprocess, "Popen", None)
    monkeypatch.setattr(os, "posix_spawn", None)
    (root / "train" / "cat" / "x.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    os.rename(root / "train" / "cat" / "x.eps", root / "train" / "cat" / "x.png")
    source = open_source("folder", root, "train")
    with pytest.raises(UserError, match="cannot read '.*x.png' as an image: not a format"):
        source.image(1)
    assert not {"EPS", "PDF", "IPTC"} & set(formats())


def test_files_that_are_no_images_are_counted_and_named_once(root, caplog):
    for name in ("notes.txt", "b.heic", "c.HEIC", "d.heic", "no ending", "e.pdf", "f.mp4"):
        (root / "train" / "cat" / name).write_text("x")
    (root / "train" / "README").write_text("x")
    source = open_source("folder", root, "train")
    assert names(source) == ["a.png"]
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("8 files passed over: 3 x .heic, 2 x no ending, 1 x ") and "'README'" in message
    caplog.clear()
    (root / "train" / "README").unlink()
    assert len(list(image_paths([root / "train"]))) == 2
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("7 files passed over: 3 x .heic, ")
    assert message.endswith(f", such as 'cat/b.heic' in '{root / 'train'}'"), "where it lies below the folder"


JUNK = ["@eaDir", "__MACOSX", ".thumbnails", "lost+found", "$RECYCLE.BIN", "#recycle", ".AppleDouble", ".@__thumb"]


@pytest.mark.parametrize("where", ["class", "inside", "beside"])
def test_folders_of_systems_are_no_classes_and_hold_no_samples(root, tmp_path, caplog, where):
    for junk in JUNK:
        if where == "class":
            put(root / "train" / junk / "x.png")
        else:
            put(root / "train" / "cat" / junk / "a.jpg" / "SYNOPHOTO_THUMB_XL.jpg")
    for junk in (".DS_Store", "Thumbs.db", "desktop.ini", "._a.png", ".hidden.png"):
        (root / "train" / "cat" / junk).write_text("x")
        (root / "train" / junk).write_text("x")
    source = open_source("folder", root, "train")
    assert source.class_names == ["cat", "dog"] and names(source) == ["a.png"]
    assert [os.path.relpath(path, root) for path in image_paths([root / "train"])] == [
        "train/cat/a.png",
        "train/dog/a.png",
    ]
    assert [os.path.relpath(path, root) for path in image_paths([f"{root}/**/*.*g"])] == [
        "train/cat/a.png",
        "train/dog/a.png",
        "val/cat/a.png",
        "val/dog/a.png",
    ]
    assert caplog.records == []
    result = pack(root, tmp_path / "packed", 100)
    assert result["train"]["samples"] == 2


def test_linked_folders_are_followed_everywhere_without_cycles(root):
    put(root / "disk" / "b.png")
    put(root / "disk" / "deep" / "c.png")
    cat = root / "train" / "cat"
    (cat / "disk").symlink_to(root / "disk")
    (cat / "again").symlink_to(root / "disk")  # listed once, under the first name
    (root / "disk" / "deep" / "up").symlink_to(root / "disk")
    (cat / "up").symlink_to(root / "train")  # which holds the other class
    (cat / "self").symlink_to("self")
    expected = [cat / "a.png", cat / "again" / "b.png", cat / "again" / "deep" / "c.png"]
    source = open_source("folder", root, "train")
    assert source.paths[:-1] == list(map(str, expected))
    assert list(image_paths([cat])) == list(map(str, expected))
    (root / "photos").symlink_to(cat)
    assert len(list(image_paths([root / "photos"]))) == 3


@pytest.mark.parametrize("both", [False, True])
def test_a_class_that_vanishes_is_refused(root, both):
    """A disk that is not mounted: the class would be missing in the labels, without a word."""
    for split in ("train", "val") if both else ("train",):
        (root / split / "zebra").symlink_to("/mnt/gone/zebra")
    with pytest.raises(UserError, match="'.*train/zebra' links to '/mnt/gone/zebra', which is not there"):
        open_source("folder", root, "train")


def test_a_split_that_links_to_nowhere(root):
    os.rename(root / "val", root / "moved")
    (root / "val").symlink_to("/mnt/gone")
    with pytest.raises(UserError, match=r"val' is not a folder \(it links to '/mnt/gone', which is not there\)"):
        open_source("folder", root, "val")


def test_links_to_nowhere_are_named(root, caplog):
    (root / "train" / "cat" / "more").symlink_to("/mnt/gone/more")
    (root / "train" / "cat" / "b.png").symlink_to("/mnt/gone/b.png")
    source = open_source("folder", root, "train")
    (message,) = [record.getMessage() for record in caplog.records]
    assert "train/cat/more' links to '/mnt/gone/more', which is not there" in message
    assert names(source) == ["a.png", "b.png"]
    with pytest.raises(UserError, match="b.png' as an image: No such file"):
        source.image(1)


def test_pipes_sockets_and_devices_are_bad_samples_and_not_a_hang(root, tmp_path):
    cat = root / "train" / "cat"
    os.mkfifo(cat / "fifo.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(cat / "socket.png"))
        (cat / "zero.png").symlink_to("/dev/zero")
        (cat / "tty.png").symlink_to("/dev/tty")
        source = open_source("folder", root, "train")
        assert names(source) == ["a.png", "fifo.png", "socket.png", "tty.png", "zero.png"]
        for index in range(1, 5):
            with pytest.raises(UserError, match=f"'{source.paths[index]}' as an image: not a regular file"):
                source.image(index)
        assert pack(root, tmp_path / "packed", 100)["train"]["samples"] == 6


def test_a_folder_that_cannot_be_listed_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot list '.*gone': No such file or directory"):
        find_images(tmp_path / "gone")


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xb9\xb7", b"two\nlines", b"\x1b[31mred", b"US$ x_$", b"a=b"])
def test_any_name_of_a_file_or_class_works(root, tmp_path, name):
    folder = os.fsencode(root)
    for split in (b"train", b"val"):
        os.rename(os.path.join(folder, split, b"dog"), os.path.join(folder, split, name))
        os.rename(os.path.join(folder, split, b"cat", b"a.png"), os.path.join(folder, split, b"cat", name + b".png"))
    source = open_source("folder", root, "train")
    assert sorted(map(os.fsencode, source.class_names)) == sorted([b"cat", name])
    assert len(source.listing()) == 64
    pack(root, tmp_path / "packed", 100)
    packed = open_source("mindrecord", tmp_path / "packed", "train")
    assert packed.class_names == source.class_names
    for index in range(2):
        np.testing.assert_array_equal(packed.image(index), source.image(index))
