"""What every data set looks like to the loader."""

import hashlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from neonext_ms.data.channels import Picture, picture
from neonext_ms.data.preprocess import Box
from neonext_ms.errors import UserError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Statistics = tuple[float, ...]


class Source:
    """Labelled images with random access; copies of it can be sent to other processes.

    Args:
        name: data set and split, for messages: "digits/train".
        class_names: one name a class; their order is the order of the labels.
        labels: (n,) the class of each; or (n, K) of 0 and 1, where an image has any number of classes.
        mean, std: usual normalisation of this data set, for values in 0..1; a number for each channel, RGB for three.
    """

    def __init__(self, name: str, class_names: Sequence[str], labels: np.ndarray, mean: Statistics, std: Statistics):
        self.name = name
        self.class_names = list(class_names)
        self.labels = np.asarray(labels, np.uint8 if np.ndim(labels) == 2 else np.int32)
        self.mean = mean
        self.std = std

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several classes, or none."""
        return self.labels.ndim == 2

    def labels_of(self, indices: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Of samples the rows of `labels`, int32; where they are not valid -1, or no class of all."""
        labels = self.labels[indices].astype(np.int32)
        return labels * valid[:, None] if self.multi_label else np.where(valid, labels, np.int32(-1))

    def label_name(self, index: int) -> str:
        """The class of a sample, or its classes, for people."""
        classes = np.flatnonzero(self.labels[index]) if self.multi_label else [self.labels[index]]
        return " + ".join(self.class_names[i] for i in classes) or "none of the classes"

    def image(self, index: int) -> np.ndarray:
        """Pixels of one sample: (H, W, C) uint8, RGB for C = 3; not to be written to."""
        raise NotImplementedError

    def spread(self, count: int) -> list[int]:
        """Indices of `count` samples spread evenly over the data set, from the start again when it has fewer."""
        return [i * max(len(self), count) // count % len(self) for i in range(count)]

    def readable(self, count: int) -> list[tuple[int, np.ndarray]]:
        """Index and pixels of `count` samples spread as by `spread`; one that cannot be read gives way to the next.

        Raises: UserError: as many in a row cannot be read as are asked for.
        """
        found = []
        for index in self.spread(count):
            for step in range(max(count, 1)):
                try:
                    found.append(((index + step) % len(self), self.image((index + step) % len(self))))
                    break
                except UserError as error:
                    last = error
            else:
                raise UserError(f"{count} images in a row of {self.name} cannot be read, the last: {last}")
        return found

    def check_classes(self, class_names: Sequence[str], model: str):
        """Raise UserError unless a model's classes are those of this data set, in the same order."""
        if list(class_names) != self.class_names:
            raise UserError(
                f"{model} knows the {len(class_names)} classes {_some(class_names)}, but {self.name} has "
                f"{len(self.class_names)}, {_some(self.class_names)}: choose the data set that it was trained on"
            )

    def region(self, index: int, choose: Callable[[int, int], Box], side: int) -> tuple[Picture, Box]:
        """As much of one sample as resizing a box of it to side x side pixels needs.

        choose: gives the box of an image of (height, width); called once.
        Returns: image, perhaps of smaller scale, and the box in its pixels; neither is to be written to.
        """
        image = picture(self.image(index))
        return image, choose(image.height, image.width)

    def describe(self, index: int) -> str:
        """Where one sample comes from, for messages: a path, or "digits/train[17]"."""
        return f"{self.name}[{index}]"

    def listing(self) -> str:
        """SHA-256 of what this data set consists of: classes, labels, and which samples, in their order."""
        digest = hashlib.sha256("\0".join(self.class_names).encode(errors="surrogatepass"))
        digest.update(self.labels.tobytes())
        for name in self.sample_names():
            digest.update(name)
        return digest.hexdigest()

    def sample_names(self) -> Iterable[bytes]:
        """What tells the samples apart, wherever the data set lies."""
        raise NotImplementedError


class ArraySource(Source):
    """A data set held in memory.

    Args:
        images: (n, H, W, C) uint8, any strides; the others as of Source.
    """

    def __init__(self, name, class_names, labels, images: np.ndarray, mean: Statistics, std: Statistics):
        super().__init__(name, class_names, labels, mean, std)
        self.images = images

    def image(self, index: int) -> np.ndarray:
        return self.images[index]

    def sample_names(self):
        return (np.ascontiguousarray(image).data for image in self.images)


def _some(names: Sequence[str]) -> str:
    return ", ".join([*names[:3], "..."] if len(names) > 3 else names)
