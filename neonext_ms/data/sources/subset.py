"""A part of a data set, as if it were all of it."""

import numpy as np

from neonext_ms.data.sources.base import Source
from neonext_ms.errors import UserError


class Subset(Source):
    """`count` samples, spread evenly over a data set, in its order: the same ones every time.

    Args:
        source: the data set; what it says of a sample, such as its path, is said of it here, too.
        count: samples to keep.

    Raises:
        UserError: the data set has fewer.
    """

    def __init__(self, source: Source, count: int):
        if count > len(source):
            raise UserError(f"{source.name} has {len(source)} images, fewer than the {count} that are asked for")
        self._source, self._kept = source, source.spread(count)
        labels = source.labels[np.asarray(self._kept)]
        super().__init__(source.name, source.class_names, labels, source.mean, source.std)

    def image(self, index: int) -> np.ndarray:
        return self._source.image(self._kept[index])

    def region(self, index, choose, side):
        return self._source.region(self._kept[index], choose, side)

    def describe(self, index: int) -> str:
        return self._source.describe(self._kept[index])

    def sample_names(self):
        """Those of the whole data set, and which of them are kept."""
        yield from self._source.sample_names()
        yield np.asarray(self._kept, "<i8").tobytes()
