"""A data set of images with several classes: every mixture of three colours, some noise, and who is there."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("red", "green", "blue")


def mixtures(root: Path, **counts: int) -> Path:
    """Write so many images of each split; returns the folder."""
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        (root / split).mkdir()
        with open(root / f"{split}.csv", "w", newline="") as file:
            for i in range(count):
                there = [i >> k & 1 for k in range(3)]
                pixels = np.array(there) * 160 + rng.integers(0, 96, (32, 32, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / f"{i}.png")
                csv.writer(file).writerow([f"{i}.png", *(name for name, is_in in zip(CLASSES, there) if is_in)])
    return root
