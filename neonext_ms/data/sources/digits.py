"""The built-in data set: scikit-learn's 1,797 handwritten digits, no download."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from neonext_ms.data.sources.base import ArraySource
from neonext_ms.errors import NotInstalled

SIZE = 32
VAL_COUNT = 360
# of the 1,437 training images as made below; tests/data/sources/test_digits.py computes them anew
MEAN, STD = (0.3098,) * 3, (0.3493,) * 3


def open_digits(split: str) -> ArraySource:
    """8 x 8 grey images enlarged to 32 x 32 RGB; 1,437 for "train" and 360 for "val", stratified, always the same."""
    # Its file without its import: with SciPy's statistics that takes 1.7 s, in every process of a run.
    package = find_spec("sklearn")
    if package is None:
        raise NotInstalled("dataset 'digits'", "scikit-learn")
    table = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    small, labels = table[:, :-1], table[:, -1].astype(int)
    rows = np.flatnonzero(_in_val(labels) == (split == "val"))
    images = np.stack([_enlarge(small[row].reshape(8, 8)) for row in rows])
    return ArraySource(f"digits/{split}", [str(d) for d in range(10)], labels[rows], images, MEAN, STD)


def _enlarge(image: np.ndarray) -> np.ndarray:
    """(8, 8) of 0..16 -> (32, 32, 3) uint8. Pillow resizes 8-bit images in integers: the same bytes everywhere."""
    grey = Image.fromarray(np.rint(image * (255 / 16)).astype(np.uint8))
    return np.asarray(grey.resize((SIZE, SIZE), Image.Resampling.BICUBIC).convert("RGB"))


def _in_val(labels: np.ndarray) -> np.ndarray:
    """bool (n,): every fifth or so of the samples sorted by class, in random order within a class.

    RandomState, because NumPy keeps its stream the same for ever; the split must never move.
    """
    by_class = np.lexsort((np.random.RandomState(0).permutation(len(labels)), labels))
    chosen = np.zeros(len(labels), bool)
    chosen[by_class[np.arange(VAL_COUNT) * len(labels) // VAL_COUNT]] = True
    return chosen
