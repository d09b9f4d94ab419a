"""Which files are images, and which files and folders are passed over: one answer for all that reads folders."""

import logging
import os
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image

from neonext_ms.errors import UserError

# What is read, of what Pillow knows; the most usual first. Not here: what only opens (MPEG, HDF5, GRIB, BUFR, WMF on
# Linux), and what runs another program (EPS runs Ghostscript) or opens a file inside itself without this list (IPTC).
FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "MPO", "QOI", "ICO", "CUR", "ICNS"),
    *("DIB", "PCX", "DCX", "DDS", "BLP", "FITS", "FLI", "FTEX", "GBR", "IM", "MSP", "PIXAR", "PSD", "SGI", "SUN"),
    *("XBM", "XPM", "PCD", "TGA"),
)
# Made by systems and not by users: thumbnails, bins, file systems' own (compared without case; beside all dot files)
_OF_SYSTEMS = {
    *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot"),  # Synology, QNAP
    *("__macosx", "icon\r"),
    *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "system volume information"),
    "lost+found",
}
_NAMED = 3  # examples in a message

log = logging.getLogger(__name__)


@cache
def formats() -> tuple[str, ...]:
    """Those of FORMATS that Pillow can open here; for `formats=` of Image.open."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@cache
def extensions() -> tuple[str, ...]:
    """The endings that Pillow registers for FORMATS, in small letters, sorted: ".bmp", ".jpg"..."""
    known = {*formats(), "MPO"}  # which Pillow opens as a JPEG
    return tuple(sorted(ending for ending, name in Image.registered_extensions().items() if name in known))


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return name.lower().endswith(extensions())


def is_passed_over(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or a system's and not the user's."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


@dataclass
class Found:
    """What a folder holds: images, other files, and links to nowhere that are no images by their name; paths."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def report(self, folder: str | Path):
        """Say once what of a folder was passed over."""
        if self.others:
            count = len(self.others)
            example = os.path.relpath(self.others[0], folder)
            what = f"{_kinds(self.others)}, such as '{example}'"
            log.warning("%d file%s passed over: %s in '%s'", count, "s" * (count > 1), what, folder)
        for path in self.lost:
            log.warning("'%s' links to '%s', which is not there: what it held is missing", path, os.readlink(path))


def find_images(folder: str | Path) -> Found:
    """All images of a folder at any depth, sorted by path; links are followed, each folder is listed once.

    Raises: UserError: a folder that cannot be listed.
    """
    found = Found()
    # A link to a folder that was seen, or that holds this one, must not make us walk for ever.
    seen = {os.fspath(parent) for parent in Path(os.path.realpath(folder)).parents}
    folders = [os.fspath(folder)]
    while folders:
        here = folders.pop()
        if (real := os.path.realpath(here)) in seen:
            continue
        seen.add(real)
        inside = []
        for entry in entries(here):
            if is_folder(entry):
                inside.append(entry.path)
            else:
                _sort_in(entry, found)
        folders += inside[::-1]
    found.images.sort()
    return found


def entries(folder: str | Path) -> list[os.DirEntry]:
    """What lies in a folder, sorted by name, but for what is passed over."""
    try:
        with os.scandir(folder) as scan:
            return sorted((entry for entry in scan if not is_passed_over(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"cannot list '{error.filename}': {error.strerror}") from None


def is_folder(entry: os.DirEntry) -> bool:
    """Whether it is a folder or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_lost(entry: os.DirEntry) -> bool:
    """Whether it is a link to nowhere."""
    return entry.is_symlink() and not os.path.exists(entry.path)


def _sort_in(entry: os.DirEntry, found: Found):
    if is_image_name(entry.name):
        found.images.append(entry.path)  # also a link to nowhere: who reads it reports it
    else:
        (found.lost if is_lost(entry) else found.others).append(entry.path)


def _kinds(paths: list[str]) -> str:
    """Endings with their numbers, the most usual first."""
    endings = Counter(os.path.splitext(path)[1].lower() or "no ending" for path in paths)
    kinds = [f"{count} x {ending}" for ending, count in endings.most_common(_NAMED)]
    kinds += ["..."] * (len(endings) > _NAMED)
    return ", ".join(kinds)
