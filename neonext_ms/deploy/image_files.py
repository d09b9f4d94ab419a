"""Image files that a user names: folders, patterns, lists, and what is special about a file."""

import glob
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from neonext_ms.data import Source, read_image
from neonext_ms.data.decode import JPEG_FORMATS
from neonext_ms.data.deep import ImageWarning
from neonext_ms.data.image_files import extensions, find_images, is_passed_over
from neonext_ms.errors import UserError

LIST = "-"  # stands for the files that the standard input lists
_UTF16 = ("\udcff\udcfe", "\udcfe\udcff")  # byte order marks, as they are read from a stream of UTF-8
SMALL = 8  # pixels; of an image with a shorter side hardly anything is left to recognise


def image_paths(paths: Iterable[str | Path], listed: Iterable[str] = ()) -> Iterator[str]:
    """Files as they are given; of a folder all image files at any depth, and of a pattern all that fits it, sorted.

    Args:
        paths: files, folders, patterns as a shell has them (** for folders at any depth), or "-" for those in listed.
        listed: files, one a line, which need not exist: who reads them reports it. Read as they are asked for.

    Raises:
        UserError: at once, not when its turn comes: a path that does not exist, a folder without images. A list of
            another encoding, when it is read.
    """
    parts = [_lines(listed) if str(path) == LIST else _files(Path(path).expanduser()) for path in paths]
    return (file for part in parts for file in part)


def _lines(listed: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(listed):
        if number == 0:
            if line.startswith(_UTF16):
                raise UserError("the list of files is UTF-16: give it as UTF-8, one name a line")
            line = line.removeprefix("\ufeff").removeprefix("\udcef\udcbb\udcbf")
        if "\0" in line:
            raise UserError(f"line {number + 1} of the list of files holds a zero byte: give the list as UTF-8")
        if line.strip():
            yield line.rstrip("\r\n")


def _files(path: Path) -> list[str]:
    if path.is_dir():
        found = find_images(path)
        found.report(path)
        if not found.images:
            raise UserError(
                f"there is no image in the folder '{path}', whose name ends in .jpg, .png or another of "
                f"{len(extensions())} endings"
            )
        return found.images
    if os.path.lexists(path):
        return [str(path)]
    pattern, fixed = _pattern(path)
    if pattern is None:
        raise UserError(f"there is no file or folder '{path}'")
    found = sorted(glob.glob(pattern, recursive=True), key=Path)
    found = [file for file in found if not any(map(is_passed_over, Path(file).parts[fixed:]))]
    found = [file for file in found if not os.path.isdir(file)]
    if not found:
        raise UserError(f"no file fits the pattern '{path}'")
    return found


def _pattern(path: Path) -> tuple[str | None, int]:
    """The pattern, of which folders that exist by just that name stand for themselves, and how many parts these are.

    None if there is no pattern in it.
    """
    fixed = 0
    while os.path.isdir(Path(*path.parts[: fixed + 1])) and fixed < len(path.parts):
        fixed += 1
    rest = path.parts[fixed:]
    if not any(map(glob.has_magic, rest)):
        return None, 0
    return os.path.join(*map(glob.escape, path.parts[:fixed]), *rest), fixed


def read_with_note(path: str | Path) -> tuple[np.ndarray, str | None]:
    """(H, W, 3) uint8, RGB, as `read_image` gives it, and what a reader of the result should know about the file.

    Raises:
        UserError: it cannot be read as an image.
    """
    looked = []
    pixels, notes = _noted(lambda: read_image(path, look=lambda image: looked.append(_note(image))), str(path))
    return pixels, "; ".join(filter(None, [looked[-1], *notes])) or None


def with_note(source: Source, index: int) -> tuple[np.ndarray, str | None]:
    """`read_with_note` for a sample of a data set."""
    pixels, notes = _noted(lambda: source.image(index), source.describe(index))
    return pixels, "; ".join(notes) or None


def _noted(read: Callable[[], np.ndarray], name: str) -> tuple[np.ndarray, list[str]]:
    """What was read, and what it warned of, without the name, which stands before the note too."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ImageWarning)
        pixels = read()
    return pixels, [str(warning.message).removeprefix(f"'{name}' ") for warning in caught]


def _note(image: Image.Image) -> str | None:
    notes = []
    if getattr(image, "is_animated", False) and image.format not in JPEG_FORMATS:
        notes.append("has several frames: the first was taken")
    if image.mode == "CMYK":
        notes.append("CMYK: converted to RGB without its colour profile")
    if min(image.size) < SMALL:
        notes.append(f"only {image.width} x {image.height} pixels")
    if image.mode == "I" or image.mode.startswith("I;16"):
        notes.append("16 bits a pixel: the upper 8 were taken")
    return "; ".join(notes) or None
