"""A small data set in memory, and the training stream that is made of it."""

import numpy as np

from neonext_ms.data import Loader, Mixing, Preprocess, RandomErasing, TrainTransform
from neonext_ms.data.sources import ArraySource

K = 7
PREPROCESS = Preprocess(8, (0.5,) * 3, (0.25,) * 3)
TRAIN = TrainTransform(
    PREPROCESS, "resized", color_jitter=0.2, auto_augment="rand-m9-mstd0.5-inc1", erasing=RandomErasing(0.5)
)
FIELDS = ("images", "labels", "targets", "indices", "positions", "valid")


def make_source(n, seed=0):
    rng = np.random.RandomState(seed)
    images = rng.randint(0, 256, (n, 12, 10, 3)).astype(np.uint8)
    return ArraySource("made/train", list("abcdefg"), rng.randint(0, K, n), images, (0.5,) * 3, (0.25,) * 3)


SOURCE = make_source(50)


def training(batch_size=6, source=SOURCE, **options):
    return Loader(source, TRAIN, batch_size, training=True, **{"mixing": Mixing(0.4, 1.0, 0.5, 0.1), **options})


def merge(batches):
    """Batches one after the other, as a dict of arrays; the ranks' parts of one step make its global batch."""
    batches = list(batches)
    return {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in FIELDS}
