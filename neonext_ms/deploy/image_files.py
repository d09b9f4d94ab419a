"""Image files that a user names: folders, patterns, lists, and what is special about a file."""

import glob
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from neonext_ms.data import read_image
from neonext_ms.data.decode import JPEG_FORMATS
from neonext_ms.data.sources import EXTENSIONS
from neonext_ms.errors import UserError

LIST = "-"  # stands for the files that the standard input lists
SMALL = 8  # pixels; of an image with a shorter side hardly anything is left to recognise


def image_paths(paths: Iterable[str | Path], listed: Iterable[str] = ()) -> Iterator[str]:
    """Files as they are given; of a folder all image files at any depth, and of a pattern all that fits it, sorted.

    Args:
        paths: files, folders, patterns as a shell has them (** for folders at any depth), or "-" for those in listed.
        listed: files, one a line, which need not exist: who reads them reports it. Read as they are asked for.

    Raises:
        UserError: at once, not when its turn comes: a path that does not exist, a folder without images.
    """
    parts = [listed if str(path) == LIST else _files(Path(path)) for path in paths]
    return (str(file).rstrip("\r\n") for part in parts for file in part if str(file).strip())


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        # A link to nothing is one of them: it is reported, not left out.
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS and not p.is_dir())
        if not inside:
            raise UserError(f"there is no image in the folder {path} (extensions read: {' '.join(EXTENSIONS)})")
        return inside
    if path.exists():
        return [path]
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
    if glob.has_magic(str(path)) and not found:
        raise UserError(f"no file fits the pattern {path}")
    if not found:
        raise UserError(f"there is no file or folder {path}")
    return [file for file in found if not file.is_dir()]


def read_with_note(path: str | Path) -> tuple[np.ndarray, str | None]:
    """(H, W, 3) uint8, RGB, as `read_image` gives it, and what a reader of the result should know about the file.

    Raises:
        UserError: it cannot be read as an image.
    """
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise UserError(f"cannot read '{path}' as an image: not a regular file")  # a pipe may have no end
    with warnings.catch_warnings():
        # Pillow refuses images of more than twice its limit and warns of the others, which take memory but no harm.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        pixels = read_image(path)
        with Image.open(path) as image:
            return pixels, _note(image)


def _note(image: Image.Image) -> str | None:
    notes = []
    if getattr(image, "is_animated", False) and image.format not in JPEG_FORMATS:
        notes.append("has several frames: the first was taken")
    if image.mode == "I" or image.mode.startswith("I;16"):
        notes.append("16 bits a pixel: the upper 8 were taken")
    if image.mode == "CMYK":
        notes.append("CMYK: converted to RGB without its colour profile")
    if min(image.size) < SMALL:
        notes.append(f"only {image.width} x {image.height} pixels")
    return "; ".join(notes) or None
