"""Many image files inside few large ones."""

import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from neonext_ms.data.decode import read_image, read_region
from neonext_ms.data.names import Names
from neonext_ms.data.sources.base import IMAGENET_MEAN, IMAGENET_STD, Source
from neonext_ms.errors import UserError
from neonext_ms.texts import read_text

MOST_CLASSES = 1 << 17
_WORDS = {"train": ("train",), "val": ("val", "valid", "validation")}
_BELOW = ("", "data")
_NAMES = ("class_names.txt", "classnames.txt", "classes.txt")

Row = tuple[int, int, int, str]  # place and length of an image file in a shard, its label, its name
Rows = Callable[[Path, int, int], Iterator[Row]]  # of a shard, whose labels are below a number; how many are expected


class StoredSource(Source):
    """Image files inside large files, read when asked for.

    Args:
        shards: the large files.
        shard, starts, lengths: for each sample its file and where in it the image file lies; (n,).
        paths: for each sample its name in the shard, for messages.
    """

    def __init__(self, name, class_names, labels, shards: list[Path], shard, starts, lengths, paths: list[str]):
        super().__init__(name, class_names, labels, IMAGENET_MEAN, IMAGENET_STD)
        self.shards = shards
        self.shard, self.starts, self.lengths = shard, starts, lengths
        self.paths = Names(paths)
        self._files = {}  # open shards of this process

    def __getstate__(self):
        return {**self.__dict__, "_files": {}}

    def data(self, index: int) -> bytes:
        """The image file of one sample. Raises: UserError when it cannot be read."""
        number = int(self.shard[index])
        try:
            if number not in self._files:
                self._files[number] = open(self.shards[number], "rb")  # noqa: SIM115 - stays open
            start, length = int(self.starts[index]), int(self.lengths[index])
            return os.pread(self._files[number].fileno(), length, start)
        except OSError as error:
            raise UserError(f"cannot read '{self.describe(index)}': {error.strerror}") from error

    def image(self, index):
        return read_image(io.BytesIO(self.data(index)), self.describe(index))

    def region(self, index, choose, side):
        return read_region(io.BytesIO(self.data(index)), self.describe(index), choose, side)

    def describe(self, index):
        return f"{self.shards[int(self.shard[index])]}:{self.paths[index]}"

    def sample_names(self):
        return map(self.paths.tail, range(len(self.paths)))


def find_shards(data_dir: Path, split: str, ending: str) -> list[Path]:
    """Files of a split: data_dir/<split>/*, or those of data_dir whose names have the split in them as a word.

    Also below data_dir/data; val may be called valid or validation.
    """
    shown = f"[!.]*{ending}"  # hidden ones are halves that other programs write, or macOS's notes on files
    for folder, word in ((data_dir / below, word) for below in _BELOW for word in _WORDS[split]):
        beside = (path for path in folder.glob(shown) if word in re.split("[^a-z]+", path.name.lower()))
        if found := sorted((folder / word).glob(shown)) or sorted(beside):
            return found
    raise UserError(
        f"'{data_dir}' holds no {ending} files of {split}: expected are {split}/*{ending}, or names such as "
        f"{split}-00000{ending}"
    )


def all_rows(files: list[Path], rows: Rows) -> tuple[np.ndarray, list[Row]]:
    """The rows of all files, and for each the number of its file; UserError if there is none."""
    found = [list(rows(file, MOST_CLASSES, 1 << 40)) for file in files]
    if not any(found):
        raise UserError(f"'{files[0]}' holds no image that has a label")
    return np.repeat(np.arange(len(files)), list(map(len, found))), [row for part in found for row in part]


def find_class_names(data_dir: Path, split: str, ending: str, rows: list[Row], reader: Rows) -> list[str]:
    """A text file's, one a line, else the numbers of the classes of both splits."""
    classes = 1 + max(label for _, _, label, _ in rows)
    file = next((data_dir / name for name in _NAMES if (data_dir / name).is_file()), None)
    if file is None:
        try:
            others = all_rows(find_shards(data_dir, "val" if split == "train" else "train", ending), reader)[1]
        except UserError:
            others = []
        return [str(number) for number in range(max([classes, *(1 + row[2] for row in others)]))]
    names = [line.strip() for line in read_text(file).split("\n") if line.strip()]
    if len(names) < classes:
        raise UserError(f"'{file}' names {len(names)} classes, but there is the label {classes - 1}: add the others")
    return names
