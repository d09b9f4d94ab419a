"""Images of other channels than RGB, through everything that is done to pixels."""

import numpy as np
import pytest
from PIL import Image

from neonext_ms.data import Loader, Mixing, Preprocess, RandomErasing, TrainTransform
from neonext_ms.data.channels import for_channels, to_show
from neonext_ms.data.sources import ArraySource
from neonext_ms.errors import UserError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 20, 5), np.uint8)
GREY = Preprocess(8, (0.0,), (1 / 255,), 0.8)
FIVE = Preprocess(8, (0.0,) * 5, (1 / 255,) * 5, 0.8)


def transform(preprocess, **options):
    return TrainTransform(preprocess, "pad", crop_padding=2, hflip=0.5, **options)


def test_every_channel_is_what_it_is_alone():
    """Resized, cropped, shifted and turned alike."""
    whole = FIVE(PIXELS)
    augmented = [transform(FIVE)(PIXELS, np.random.default_rng(seed)) for seed in range(4)]
    assert whole.shape == augmented[0].shape == (5, 8, 8)
    for c in range(5):
        alone = PIXELS[..., c : c + 1]
        np.testing.assert_array_equal(whole[c : c + 1], GREY(alone))
        for seed, image in enumerate(augmented):
            np.testing.assert_array_equal(image[c : c + 1], transform(GREY)(alone, np.random.default_rng(seed)))


def test_means_of_some_channels_for_another_number_of_them():
    assert for_channels((1.0, 2.0, 6.0), 1) == (3.0,)
    assert for_channels((1.0, 2.0, 6.0), 5) == (1.0, 2.0, 6.0, 1.0, 2.0)
    assert for_channels((4.0,), 3) == (4.0,) * 3


def test_colour_is_taken_in_grey_and_grey_in_colour():
    colour = PIXELS[..., :3]
    grey = np.asarray(Image.fromarray(colour).convert("L"))[..., None]
    np.testing.assert_array_equal(GREY(colour), GREY(grey))
    three = Preprocess(8, (0.0,) * 3, (1 / 255,) * 3, 0.8)
    np.testing.assert_array_equal(three(grey), np.repeat(GREY(grey), 3, 0))
    with pytest.raises(UserError, match="takes images of 5 channels, got one of 3"):
        FIVE(colour)


def test_grey_is_recoloured_as_equal_channels_are():
    options = {"color_jitter": 0.4, "auto_augment": "rand-m9-mstd0.5-inc1"}
    three = Preprocess(8, (0.0,) * 3, (1 / 255,) * 3, 0.8)
    grey = PIXELS[..., :1]
    changed = 0
    for seed in range(20):
        one = transform(GREY, **options)(grey, np.random.default_rng(seed))
        # Operations that turn equal channels into others, there are none.
        all_three = transform(three, **options)(np.repeat(grey, 3, 2), np.random.default_rng(seed))
        np.testing.assert_array_equal(np.repeat(one, 3, 0), all_three)
        changed += not np.array_equal(one, transform(GREY)(grey, np.random.default_rng(seed)))
    assert changed > 10
    with pytest.raises(UserError, match="are for grey and RGB, not for 5 channels: use color_jitter=0"):
        transform(FIVE, **options)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_batches(num_workers):
    images = RNG.integers(0, 256, (8, 12, 20, 5), np.uint8)
    source = ArraySource("five/train", ["a", "b"], np.arange(8) % 2, images, (0.0,) * 5, (1 / 255,) * 5)
    erasing = transform(FIVE, erasing=RandomErasing(1.0))
    loader = Loader(source, erasing, 4, training=True, num_workers=num_workers, mixing=Mixing(0.4, 1.0))
    shapes = [batch.images.shape for batch in loader.epoch()]
    loader.close()
    assert shapes == [(4, 5, 8, 8)] * 2
    (batch,) = Loader(source, FIVE, 8, training=False).epoch()
    np.testing.assert_array_equal(batch.images, np.stack([FIVE(image) for image in images]))


@pytest.mark.parametrize("channels, shown", [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2]), (5, [0, 1, 2])])
def test_any_image_is_shown(channels, shown):
    np.testing.assert_array_equal(np.asarray(to_show(PIXELS[..., :channels])), PIXELS[..., shown])
