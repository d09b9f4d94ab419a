"""MNIST and data sets in its format, IDX (http://yann.lecun.com/exdb/mnist): grey images of one size in one file."""

import gzip
import math
import string
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neonext_ms.data.sources.base import ArraySource
from neonext_ms.errors import UserError
from neonext_ms.files import open_regular

UBYTE = 0x08  # the type of the values, in the third byte of a file; the fourth says how many dimensions there are
_MOST_INFLATED, _BESIDE = 8, 1 << 24  # bytes a compressed one, and besides: images shrink to a fifth, bombs to 1/1032
_FOLDERS = ("", "raw", "gzip")  # below data_dir, as other programs make them
_DIGITS = tuple(string.digits)
_MERGED = (*_DIGITS, *string.ascii_uppercase, *"abdefghnqrt")  # small letters that look like large ones are one class


@dataclass(frozen=True)
class _Layout:
    """class_names: in the order of the labels; mean, std: of the training pixels, 0..1; prefix: of the files."""

    class_names: tuple[str, ...]
    mean: float
    std: float
    prefix: str = ""
    first: int = 0  # label of the first class
    turned: bool = False  # images lie transposed in the file


def _emnist(kind: str, class_names: tuple[str, ...], mean: float, std: float, first: int = 0) -> _Layout:
    return _Layout(class_names, mean, std, f"emnist-{kind}-", first, turned=True)


_LAYOUTS = {
    "mnist": _Layout(_DIGITS, 0.1307, 0.3081),
    "fashion_mnist": _Layout(
        ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
        0.2860,
        0.3530,
    ),
    "kmnist": _Layout(("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"), 0.1918, 0.3483),
    "emnist_balanced": _emnist("balanced", _MERGED, 0.1751, 0.3332),
    "emnist_bymerge": _emnist("bymerge", _MERGED, 0.1736, 0.3317),
    "emnist_byclass": _emnist("byclass", (*_DIGITS, *string.ascii_letters.swapcase()), 0.1736, 0.3317),
    "emnist_digits": _emnist("digits", _DIGITS, 0.1733, 0.3317),
    "emnist_letters": _emnist("letters", tuple(string.ascii_lowercase), 0.1722, 0.3309, first=1),
}
IDX_DATASETS = tuple(_LAYOUTS)


class GreySource(ArraySource):
    """Grey images held in memory. images: (n, H, W) uint8; the others as of Source."""

    def image(self, index: int) -> np.ndarray:
        return np.repeat(self.images[index][..., None], 3, 2)


def open_idx(dataset: str, data_dir: Path, split: str) -> GreySource:
    """dataset: one of IDX_DATASETS; data_dir: the folder with the four files, as they are or as .gz."""
    layout = _LAYOUTS[dataset]
    images_file, labels_file = (_find(dataset, data_dir, layout.prefix, split, what) for what in ("images", "labels"))
    images, labels = _read(images_file, 3), _read(labels_file, 1).astype(np.int32) - layout.first
    if len(images) != len(labels):
        raise UserError(
            f"'{images_file}' has {len(images)} images, and '{labels_file}' {len(labels)} labels: copy both"
        )
    if labels.min() < 0 or labels.max() >= len(layout.class_names):
        wrong = labels.max() if labels.min() >= 0 else labels.min()
        raise UserError(
            f"'{labels_file}' has the label {wrong + layout.first}, which {dataset} has not ({len(layout.class_names)} "
            "classes): is it of another data set?"
        )
    if layout.turned:
        images = images.transpose(0, 2, 1)
    return GreySource(f"{dataset}/{split}", layout.class_names, labels, images, (layout.mean,) * 3, (layout.std,) * 3)


def _find(dataset: str, data_dir: Path, prefix: str, split: str, what: str) -> Path:
    number = 3 if what == "images" else 1
    parts = ("train",) if split == "train" else ("t10k", "test")
    names = [
        f"{prefix}{part}-{what}{dot}idx{number}-ubyte{end}" for part in parts for dot in "-." for end in ("", ".gz")
    ]
    for folder in _FOLDERS:
        for name in names:
            if (data_dir / folder / name).is_file():
                return data_dir / folder / name
    raise UserError(
        f"{dataset}: '{names[0]}' (or .gz) not found in '{data_dir}'; data_dir must be the folder with its four files"
    )


def _read(path: Path, dimensions: int) -> np.ndarray:
    """The values of an IDX file of so many dimensions: uint8."""
    try:
        with open_regular(path) as raw:
            most = path.stat().st_size
            file = raw
            if path.suffix == ".gz":
                file, most = gzip.GzipFile(fileobj=raw), most * _MOST_INFLATED + _BESIDE
            head = file.read(4 + 4 * dimensions)
            shape = tuple(int.from_bytes(head[at : at + 4], "big") for at in range(4, 4 + 4 * dimensions, 4))
            if head[:4] != bytes([0, 0, UBYTE, dimensions]) or 0 in shape or math.prod(shape) > most:
                raise UserError(f"'{path}' is no IDX file of {dimensions} dimensions and bytes: copy it again")
            data, read = np.empty(math.prod(shape), np.uint8), 0
            while count := file.readinto(memoryview(data)[read:]):
                read += count
            whole = read == len(data) and not file.read(1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read '{path}' ({reason}): copy it again") from None
    if not whole:
        raise UserError(f"'{path}' has not the {math.prod(shape)} bytes of {shape} values: copy it again")
    data.flags.writeable = False
    return data.reshape(shape)
