"""What the keys of the data do to a batch: it differs in the way it should."""

from types import SimpleNamespace

import numpy as np
import pytest

from neonext_ms.data.sources import ArraySource
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.inputs import train_loader
from tests.support.tiny import TinyConfig

ONE = Ranks(0, 1, "CPU")
# Images whose red is 8 times the row, green 8 times the column, and blue the number of the image, in two classes.
SIDE = 32
PLACES = np.zeros((48, SIDE, SIDE, 3), np.uint8)
PLACES[..., 0], PLACES[..., 1] = np.mgrid[:SIDE, :SIDE] * 8
PLACES[..., 2] = np.arange(48)[:, None, None]
SOURCE = ArraySource("places", ["even", "odd"], np.arange(48) % 2, PLACES, (0.5,) * 3, (0.5,) * 3)


def first(**options):
    """(float (8, 3, S, S) values of 0..255, targets, indices) of the first batch; nothing random but its order."""
    config = TinyConfig(**{"label_smoothing": 0.0, "batch_size": 8, "num_workers": 0, **options})
    batch = next(train_loader(config, SOURCE, ONE).epoch(0))
    return SimpleNamespace(
        values=(batch.images * 0.5 + 0.5) * 255, images=batch.images, targets=batch.targets, indices=batch.indices
    )


def spans(batch):
    """Of each image, from which row to which and from which column to which it shows."""
    red, green = batch.values[:, 0] / 8, batch.values[:, 1] / 8
    return np.stack([red.min((1, 2)), red.max((1, 2)), green.min((1, 2)), green.max((1, 2))], 1)


def pairs(batch):
    """Of each pair of neighbours the sum, which mixing keeps."""
    return batch.images[0::2] + batch.images[1::2]


def is_of_its_pair(mixed, plain):
    """Whether every pixel is one of the two pixels of the pair, which cutmix keeps and mixup does not."""
    one, other = plain.images[0::2].repeat(2, 0), plain.images[1::2].repeat(2, 0)
    return bool((np.isclose(mixed.images, one) | np.isclose(mixed.images, other)).all())


def differ(a, b):
    return not np.array_equal(a.images, b.images)


def sizes_of_change(a, b):
    """Height and width of the rectangle in which two images differ, for each of a batch."""
    found = np.abs(a.images - b.images).max(1) > 0
    return {(int(rows.sum()), int(columns.sum())) for rows, columns in zip(found.any(2), found.any(1))}


# What a key does to a batch: (options with it, whether two batches without and with it differ as they should).
WAYS = {
    "nothing": (
        {},
        lambda a, b: np.allclose(spans(b), [0, 31, 0, 31]) and np.allclose(b.values[:, 2, 0, 0], b.indices),
    ),
    "hflip": ({"hflip": 1.0}, lambda a, b: np.array_equal(b.images, a.images[..., ::-1])),
    "mean": ({"mean": (0.5, 0.25, 0.5)}, lambda a, b: np.allclose((b.images - a.images).mean((0, 2, 3)), [0, 0.5, 0])),
    "std": ({"std": (0.5, 0.25, 0.5)}, lambda a, b: np.allclose(b.images[:, 1], 2 * a.images[:, 1], atol=1e-6)),
    "image_size": ({"image_size": 64}, lambda a, b: b.images.shape == (8, 3, 64, 64)),
    "crop_pct": ({"crop_pct": 0.5}, lambda a, b: np.allclose(spans(b), [8, 23, 8, 23], atol=0.6)),
    "interpolation": ({"image_size": 48, "interpolation": "lanczos"}, lambda a, b: differ(first(image_size=48), b)),
    "random_crop, crop_padding": (
        {"random_crop": "pad", "crop_padding": 2},
        lambda a, b: (
            {28, 29, 30, 31} >= set(spans(b)[:, 1].round()) > {31}
            and np.abs(b.values[:, :2, 16, 16] / 8 - 16).max() == 2
        ),
    ),
    "scale": (
        {"random_crop": "resized", "scale": (0.25, 0.25), "ratio": (1.0, 1.0)},
        lambda a, b: np.allclose(np.diff(spans(b))[:, ::2], 15, atol=1.2) and len(set(spans(b)[:, 0].round())) > 1,
    ),
    "ratio": (  # width by height
        {"random_crop": "resized", "scale": (0.5, 0.5), "ratio": (0.5, 0.5)},
        lambda a, b: np.allclose(np.diff(spans(b))[:, ::2], [31, 15], atol=1.2),
    ),
    "color_jitter": ({"color_jitter": 0.5}, differ),
    "auto_augment": ({"auto_augment": "rand-m9-n2"}, differ),
    "re_prob, re_scale": (
        {"re_prob": 1.0, "re_scale": (0.25, 0.25), "re_ratio": (1.0, 1.0)},
        lambda a, b: sizes_of_change(a, b) == {(16, 16)},
    ),
    "re_ratio": (  # height by width
        {"re_prob": 1.0, "re_scale": (0.125, 0.125), "re_ratio": (2.0, 2.0)},
        lambda a, b: sizes_of_change(a, b) == {(16, 8)},
    ),
    "mixup": ({"mixup": 1.0}, lambda a, b: np.allclose(pairs(a), pairs(b), atol=1e-5) and not is_of_its_pair(b, a)),
    "cutmix": ({"cutmix": 1.0}, lambda a, b: differ(a, b) and is_of_its_pair(b, a)),
    "mixup_switch_prob": (
        {"mixup": 1.0, "cutmix": 1.0, "mixup_switch_prob": 1.0},
        lambda a, b: differ(a, b) and is_of_its_pair(b, a),
    ),
    "label_smoothing": ({"label_smoothing": 0.2}, lambda a, b: np.allclose(b.targets, 0.8 * a.targets + 0.1)),
    "aug_repeats": ({"aug_repeats": 2}, lambda a, b: list(b.indices) == [*a.indices[:4], *a.indices[:4]]),
    "batch_size": ({"batch_size": 16}, lambda a, b: len(b.images) == 16 and list(b.indices[:8]) == list(a.indices)),
    "global_batch": ({"global_batch": 24}, lambda a, b: len(b.images) == 24 and list(b.indices[:8]) == list(a.indices)),
    "num_workers": ({"num_workers": 1}, lambda a, b: not differ(a, b)),
    "seed": ({"seed": 1}, lambda a, b: list(a.indices) != list(b.indices)),
}


@pytest.mark.parametrize("what", WAYS)
def test_a_batch_differs_in_the_way_it_should(what):
    options, as_it_should = WAYS[what]
    assert as_it_should(first(), first(**options))
