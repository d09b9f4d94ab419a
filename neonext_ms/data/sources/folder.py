"""A folder of image files: data_dir/{train,val}/<class>/**/<image>."""

import os
from pathlib import Path

import numpy as np

from neonext_ms.data.decode import read_image, read_region
from neonext_ms.data.sources.base import IMAGENET_MEAN, IMAGENET_STD, Source
from neonext_ms.errors import UserError

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
LAYOUT = "expected are data_dir/train/<class>/<image> and data_dir/val/<class>/<image>"


class FolderSource(Source):
    """Image files, decoded when asked for. folder: where all of them are; paths: one a sample."""

    def __init__(self, name, class_names, labels, folder: Path, paths: list[str]):
        super().__init__(name, class_names, labels, IMAGENET_MEAN, IMAGENET_STD)
        self.folder = folder
        self.paths = paths

    def image(self, index: int) -> np.ndarray:
        return read_image(self.paths[index])

    def region(self, index, choose, side):
        return read_region(self.paths[index], self.paths[index], choose, side)

    def describe(self, index: int) -> str:
        return self.paths[index]

    def sample_names(self):
        start = len(str(self.folder))
        return (path[start:].encode() for path in self.paths)


def open_folder(data_dir: Path, split: str) -> FolderSource:
    """List data_dir/<split>. Classes are its sub-folders in sorted order, samples the image files at any depth in them.

    Names that begin with a dot and files of other extensions are passed over; links are followed.
    """
    class_names = _class_names(data_dir / split)
    other = data_dir / ("train" if split == "val" else "val")
    if other.is_dir():
        difference = sorted(set(class_names) ^ set(_class_names(other)))
        if difference:
            raise UserError(
                f"'{data_dir / split}' and '{other}' must hold the same classes, but {len(difference)} are in "
                f"one only, the first: '{difference[0]}'"
            )
    paths, labels = [], []
    for label, name in enumerate(class_names):
        found = _image_files(data_dir / split / name)
        if not found:
            raise UserError(
                f"class folder '{data_dir / split / name}' holds no image; add some or remove the folder "
                f"(extensions read: {' '.join(EXTENSIONS)})"
            )
        paths += found
        labels += [label] * len(found)
    return FolderSource(f"folder/{split}", class_names, labels, data_dir / split, paths)


def _class_names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise UserError(f"'{folder}' is not a folder; {LAYOUT}")
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise UserError(f"'{folder}' holds no class folders; {LAYOUT}")
    return names


def _image_files(folder: Path) -> list[str]:
    found = []
    seen = set()  # a link to a parent must not make us walk for ever
    for root, folders, files in os.walk(folder, followlinks=True, onerror=_cannot_list):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if (real := os.path.realpath(root)) in seen:
            folders.clear()
            continue
        seen.add(real)
        found += [os.path.join(root, name) for name in files if _is_image_name(name)]
    return sorted(found)


def _is_image_name(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def _cannot_list(error: OSError):
    raise UserError(f"cannot list '{error.filename}': {error.strerror}") from error
