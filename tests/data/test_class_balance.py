"""Uneven classes shown more evenly."""

import numpy as np
import pytest

from neonext_ms.data import Loader, Preprocess, TrainTransform
from neonext_ms.data.sources import ArraySource

LABELS = np.repeat([0, 1, 3], [90, 9, 1])  # the class 2 has no image
IMAGES = np.random.default_rng(0).integers(0, 256, (100, 4, 4, 3), np.uint8)
SOURCE = ArraySource("made/train", list("abcd"), LABELS, IMAGES, (0.5,) * 3, (0.5,) * 3)
FLIPS = TrainTransform(Preprocess(4, (0.5,) * 3, (0.5,) * 3), hflip=0.5)


def epoch(number=0, **options):
    options = {"batch_size": 10, "class_balance": 1.0, **options}
    return list(Loader(SOURCE, FLIPS, options.pop("batch_size"), training=True, **options).epoch(number))


def indices(batches):
    return np.concatenate([batch.indices for batch in batches])


@pytest.mark.parametrize(
    "balance, counts",
    [
        (1.0, [33, 34, 0, 33]),
        (0.5, [70, 23, 0, 7]),  # roots 9.49, 3 and 1 of 13.49
        (0.0, [90, 9, 0, 1]),
    ],
)
def test_classes_come_as_often_as_asked(balance, counts):
    drawn = indices(epoch(class_balance=balance))
    assert np.bincount(LABELS[drawn], minlength=4).tolist() == counts
    times = np.bincount(drawn, minlength=100)
    for label in (0, 1, 3):
        assert np.ptp(times[LABELS == label]) <= 1, "none again before all of its class"


def test_the_order_is_mixed_and_another_in_every_epoch():
    first, second = (indices(epoch(number)) for number in (0, 1))
    assert not np.array_equal(first, second) and np.array_equal(first, indices(epoch(0)))
    assert all(len(set(LABELS[part])) > 1 for part in first.reshape(10, 10))
    assert set(first[LABELS[first] == 0]) != set(second[LABELS[second] == 0]), "33 of 90, others each time"


def test_ranks_and_workers_change_nothing():
    whole = epoch()
    halves = [epoch(batch_size=5, rank=rank, world=2) for rank in (0, 1)]
    for batch, *parts in zip(whole, *halves):
        assert np.array_equal(batch.indices, np.concatenate([part.indices for part in parts]))
        assert np.array_equal(batch.images, np.concatenate([part.images for part in parts]))
    for one, other in zip(whole, epoch(num_workers=1)):
        assert np.array_equal(one.images, other.images)


def test_an_image_that_comes_again_is_augmented_anew():
    batches = epoch()
    shown = np.concatenate([batch.images for batch in batches])[indices(batches) == 99]
    assert len(shown) == 33 and len(np.unique(shown.reshape(33, -1), axis=0)) == 2, "as it is, and mirrored"
