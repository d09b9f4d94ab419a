"""What every data set looks like to the loader."""

from collections.abc import Sequence

import numpy as np

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Statistics = tuple[float, float, float]


class Source:
    """Labelled images with random access; safe to read from several threads.

    Attributes:
        name: data set and split, for messages: "digits/train".
        class_names: one name a class; their order is the order of the labels.
        labels: int32 (n,).
        mean, std: usual normalisation of this data set, RGB, for values in 0..1.
    """

    def __init__(self, name: str, class_names: Sequence[str], labels: np.ndarray, mean: Statistics, std: Statistics):
        self.name = name
        self.class_names = list(class_names)
        self.labels = np.asarray(labels, np.int32)
        self.mean = mean
        self.std = std

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> np.ndarray:
        """Pixels of one sample: (H, W, 3) uint8, RGB; not to be written to."""
        raise NotImplementedError

    def describe(self, index: int) -> str:
        """Where one sample comes from, for messages: a path, or "digits/train[17]"."""
        return f"{self.name}[{index}]"


class ArraySource(Source):
    """A data set held in memory. images: (n, H, W, 3) uint8, any strides."""

    def __init__(self, name, class_names, labels, images: np.ndarray, mean: Statistics, std: Statistics):
        super().__init__(name, class_names, labels, mean, std)
        self.images = images

    def image(self, index: int) -> np.ndarray:
        return self.images[index]
