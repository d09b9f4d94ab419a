"""The built-in digits and the front door `open_source`."""

import hashlib
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from neonext_ms.data import open_source
from neonext_ms.errors import UserError


@pytest.fixture(scope="module")
def splits():
    return open_source("digits", None, "train"), open_source("digits", None, "val")


def test_sizes_and_types(splits):
    for source, count in zip(splits, (1437, 360)):
        assert len(source) == count
        assert source.labels.dtype == np.int32 and source.labels.shape == (count,)
        assert source.class_names == list("0123456789")
        image = source.image(count - 1)
        assert image.shape == (32, 32, 3) and image.dtype == np.uint8
    assert splits[0].describe(17) == "digits/train[17]"


def test_splits_are_disjoint_and_complete(splits):
    """Averaged back to 8 x 8, both splits together are the original images, each once."""
    small, labels = load_digits(return_X_y=True)
    enlarged = np.concatenate([source.images[..., 0] for source in splits]).astype(float)
    ours = enlarged.reshape(-1, 8, 4, 8, 4).mean((2, 4)).reshape(-1, 64) * 16 / 255
    distance = ((small**2).sum(1)[:, None] - 2 * small @ ours.T + (ours**2).sum(1)) / 64
    nearest = distance.argmin(1)
    assert sorted(nearest) == list(range(1797))
    assert np.sqrt(distance.min(1)).max() < 1.5  # of 16 grey levels
    np.testing.assert_array_equal(np.concatenate([s.labels for s in splits])[nearest], labels)


def test_split_is_stratified(splits):
    train, val = (np.bincount(source.labels) for source in splits)
    expected = (train + val) * 360 / 1797
    assert np.abs(val - expected).max() < 1


def test_pixels_and_split_never_change(splits):
    digests = [hashlib.sha256(s.images.tobytes() + s.labels.tobytes()).hexdigest()[:16] for s in splits]
    assert digests == ["11d22cebe854024e", "7bd7c8e5a83eb743"]


def test_grey_levels_span_the_range_and_channels_are_equal(splits):
    images = splits[0].images
    assert images.min() == 0 and images.max() == 255
    np.testing.assert_array_equal(images[..., 0], images[..., 1])
    np.testing.assert_array_equal(images[..., 0], images[..., 2])


def test_statistics_are_those_of_the_training_split(splits):
    values = splits[0].images / 255
    for source in splits:
        np.testing.assert_allclose(source.mean, values.mean((0, 1, 2)), atol=5e-5)
        np.testing.assert_allclose(source.std, values.std((0, 1, 2)), atol=5e-5)


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UserError, match="^dataset 'digits' needs scikit-learn.*pip install scikit-learn$"):
        open_source("digits", None, "train")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("imagenet", None, "train"), "unknown dataset 'imagenet'; known: digits, cifar10, cifar100, folder"),
        (("digits", None, "test"), "unknown split 'test'; known: train, val"),
        (("digits", "somewhere", "val"), "takes no data_dir"),
        (("folder", None, "val"), "dataset 'folder' needs data_dir"),
        (("cifar10", "/does/not/exist", "val"), "data_dir '/does/not/exist' is not a folder"),
    ],
)
def test_wrong_requests(arguments, message):
    with pytest.raises(UserError, match=f"^[^\n]*{message}[^\n]*$"):
        open_source(*arguments)


def test_spread_reaches_the_whole_split():
    source = open_source("digits", None, "val")
    assert source.spread(3) == [0, 120, 240]
    assert source.spread(360) == list(range(360)) and source.spread(720)[360:] == list(range(360))
    assert max(np.diff(source.spread(200))) == 2 and source.spread(200)[-1] >= 355
