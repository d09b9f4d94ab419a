"""A folder of image files: data_dir/{train,val}/<class>/**/<image>."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from neonext_ms.data.decode import read_image, read_region
from neonext_ms.data.image_files import Found, entries, extensions, find_images, is_folder, is_image_name, is_lost
from neonext_ms.data.names import Names
from neonext_ms.data.sources.base import IMAGENET_MEAN, IMAGENET_STD, Source
from neonext_ms.errors import UserError

LAYOUT = "expected are data_dir/train/<class>/<image> and data_dir/val/<class>/<image>"


class FolderSource(Source):
    """Image files, decoded when asked for.

    Args:
        folder: where all of them are.
        paths: one a sample; the others as of Source.
    """

    def __init__(self, name, class_names, labels, folder: Path, paths: Names):
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
        return map(self.paths.tail, range(len(self.paths)))


def open_folder(data_dir: Path, split: str) -> FolderSource:
    """List data_dir/<split>. Classes are its sub-folders in sorted order, samples the image files at any depth in them.

    What is an image, and what is passed over, is `image_files`' matter; links are followed.
    """
    folder = data_dir / split
    class_names, found = _class_names(folder)
    other = data_dir / ("train" if split == "val" else "val")
    if other.is_dir():
        difference = sorted(set(class_names) ^ set(_class_names(other)[0]))
        if difference:
            raise UserError(
                f"'{folder}' and '{other}' must hold the same classes, but {len(difference)} are in "
                f"one only, the first: '{difference[0]}'"
            )
    counts = []
    paths = Names(_class_by_class(folder, class_names, counts, found), str(folder))
    found.report(folder)
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return FolderSource(f"folder/{split}", class_names, labels, folder, paths)


def _class_by_class(folder: Path, class_names: list[str], counts: list[int], found: Found) -> Iterator[str]:
    """The images of each class; adds their number to counts and what else there is to found.

    Never all of them at once: millions of strings are gigabytes.
    """
    for name in class_names:
        inside = find_images(folder / name)
        if not inside.images:
            inside.report(folder / name)
            raise UserError(
                f"class folder '{folder / name}' holds no image, whose name ends in .jpg, .png or another of "
                f"{len(extensions())} endings: add some or remove the folder"
            )
        counts.append(len(inside.images))
        yield from inside.images
        found.others += inside.others
        found.lost += inside.lost


def _class_names(folder: Path) -> tuple[list[str], Found]:
    """Sorted names of the class folders, and what else is beside them."""
    if not folder.is_dir():
        link = f" (it links to '{os.readlink(folder)}', which is not there)" if folder.is_symlink() else ""
        raise UserError(f"'{folder}' is not a folder{link}; {LAYOUT}")
    names, beside = [], Found()
    for entry in entries(folder):
        if is_folder(entry):
            names.append(entry.name)
        elif is_lost(entry) and not is_image_name(entry.name):
            raise UserError(
                f"'{entry.path}' links to '{os.readlink(entry.path)}', which is not there, so that its class would be "
                "missing: mount or copy it, or remove the link"
            )
        else:
            beside.others.append(entry.path)
    if not names:
        raise UserError(f"'{folder}' holds no class folders; {LAYOUT}")
    return names, beside
