"""Preprocessing against Pillow and NumPy written out; random transforms against their distributions."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from neonext_ms.data import Preprocess, RandomErasing, TrainTransform
from neonext_ms.data.preprocess import INTERPOLATIONS
from neonext_ms.data.transforms import jitter_colours, random_box
from neonext_ms.errors import UserError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLAIN = {"mean": (0, 0, 0), "std": (1 / 255,) * 3}  # leaves the values 0..255 as they are


def photo(height, width, seed=0):
    """A smooth random picture with some noise: (height, width, 3) uint8."""
    rng = np.random.RandomState(seed)
    coarse = Image.fromarray(rng.randint(0, 256, (5, 6, 3)).astype(np.uint8)).resize((width, height), Image.BICUBIC)
    return np.clip(np.asarray(coarse) + rng.randint(-20, 21, (height, width, 3)), 0, 255).astype(np.uint8)


def test_normalisation():
    image = photo(9, 9)
    out = Preprocess(9, MEAN, STD)(image)
    assert out.dtype == np.float32 and out.flags.c_contiguous
    expected = ((image / 255.0 - MEAN) / STD).transpose(2, 0, 1)
    np.testing.assert_allclose(out, expected, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(20, 90),
    width=st.integers(20, 90),
    size=st.integers(8, 48),
    crop_pct=st.sampled_from([1.0, 0.95, 0.875]),
    interpolation=st.sampled_from(sorted(INTERPOLATIONS)),
)
def test_resize_and_centre_crop(height, width, size, crop_pct, interpolation):
    """The same as resizing the whole image by its short side, then cutting out the centre."""
    image = photo(height, width) // 2 + 64  # far from black and white, where Pillow clips between its two passes
    out = Preprocess(size, **PLAIN, crop_pct=crop_pct, interpolation=interpolation)(image)
    short = math.floor(size / crop_pct)
    new_height, new_width = (short, int(short * width / height))
    if width < height:
        new_height, new_width = int(short * height / width), short
    whole = np.asarray(Image.fromarray(image).resize((new_width, new_height), INTERPOLATIONS[interpolation]))
    top, left = round((new_height - size) / 2), round((new_width - size) / 2)
    expected = whole[top : top + size, left : left + size].transpose(2, 0, 1)
    assert out.shape == expected.shape
    assert np.abs(out - expected).max() <= 2.01  # each of two passes rounds to whole grey levels


def test_the_usual_geometry_of_imagenet():
    """Size 224 at crop_pct 0.875: short side 256, and the centre 224 of it."""
    image = np.zeros((512, 768, 3), np.uint8)
    image[32:480, 160:608] = 255  # the centre 448 x 448 becomes the crop
    out = Preprocess(224, **PLAIN, crop_pct=0.875)(image)
    assert out[:, 2:-2, 2:-2].min() > 254
    image[34:478, 162:606] = 0
    assert Preprocess(224, **PLAIN, crop_pct=0.875)(image)[:, 3:-3, 3:-3].max() < 1


def test_round_trip_through_json():
    preprocess = Preprocess(224, MEAN, STD, 0.875, "bilinear")
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess


@pytest.mark.parametrize(
    "change, message",
    [
        ({"image_size": 0}, "image_size must be an integer of at least 1, got 0"),
        ({"image_size": "32"}, "image_size must be an integer of at least 1, got '32'"),
        ({"mean": [0.5, 0.5]}, "mean and std must have a number for each channel"),
        ({"mean": "123"}, "mean must be numbers, one for each channel, got '123'"),
        ({"std": [0.5, 0, 0.5]}, "std must be positive"),
        ({"std": [0.5, float("nan"), 0.5]}, "std must be numbers, one for each channel"),
        ({"crop_pct": 1.2}, "crop_pct must be in"),
        ({"interpolation": "area"}, "unknown interpolation 'area'; known: bilinear, bicubic, lanczos"),
        ({"colour": 1}, "must have the keys"),
    ],
)
def test_bad_preprocess(change, message):
    with pytest.raises(UserError, match=f"^[^\n]*{message}[^\n]*$"):
        Preprocess.from_dict({**Preprocess(32, MEAN, STD).to_dict(), **change})


@pytest.mark.parametrize(
    "change, message",
    [
        ({"random_crop": "five"}, "unknown random_crop 'five'; known: none, pad, resized"),
        ({"crop_padding": -1}, "crop_padding"),
        ({"scale": (0.5, 0.1)}, "scale"),
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"ratio": (2, 1)}, "ratio"),
        ({"hflip": 1.5}, "hflip"),
        ({"color_jitter": -0.1}, "color_jitter must be 0 or more, got -0.1"),
        ({"auto_augment": "rand-x3"}, "auto_augment must be like rand-m9-mstd0.5-inc1"),
    ],
)
def test_bad_train_transform(change, message):
    with pytest.raises(UserError, match=f"^[^\n]*{message}[^\n]*$"):
        TrainTransform(Preprocess(32, MEAN, STD), **change)


def test_without_randomness_training_sees_what_evaluation_sees():
    preprocess = Preprocess(16, MEAN, STD, crop_pct=0.8)
    image = photo(30, 40)
    out = TrainTransform(preprocess, hflip=0)(image, np.random.default_rng(0))
    np.testing.assert_array_equal(out, preprocess(image))


def test_flip():
    preprocess = Preprocess(16, **PLAIN)
    image = photo(16, 16)
    transform = TrainTransform(preprocess, hflip=0.25)
    rng = np.random.default_rng(0)
    flipped = 0
    for _ in range(1000):
        out = transform(image, rng)
        is_flipped = (out == preprocess(image[:, ::-1])).all()
        assert is_flipped or (out == preprocess(image)).all()
        flipped += is_flipped
    assert 200 < flipped < 300  # 3.6 standard deviations


@pytest.mark.parametrize("padding", [1, 3, 7, 9])
def test_pad_crop_is_padding_and_cropping(padding):
    image = photo(7, 7)
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    transform = TrainTransform(Preprocess(7, **PLAIN), "pad", crop_padding=padding, hflip=0)
    rng = np.random.default_rng(padding)
    for _ in range(20):
        out = transform(image, rng).transpose(1, 2, 0)
        offsets = itertools.product(range(2 * padding + 1), repeat=2)
        assert any((out == padded[top : top + 7, left : left + 7]).all() for top, left in offsets)


def test_pad_crop_reaches_every_offset_evenly():
    image = np.zeros((8, 8, 3), np.uint8)
    image[4, 4] = 255
    transform = TrainTransform(Preprocess(8, **PLAIN), "pad", crop_padding=2, hflip=0)
    rng = np.random.default_rng(0)
    seen = np.sum([transform(image, rng)[0] for _ in range(2500)], 0) / 255
    assert (seen[2:7, 2:7] > 60).all() and (seen[2:7, 2:7] < 140).all()  # 100 expected, 4 standard deviations
    assert seen.sum() == 2500


def test_resized_crop_distribution():
    """Area share and log aspect ratio are uniform when the box always fits, and the position fills the image."""
    rng = np.random.default_rng(0)
    boxes = np.array([random_box(1000, 1000, (0.1, 0.5), (0.5, 2), rng) for _ in range(4000)], float)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    share = np.sort(width * height / 1e6)
    log_aspect = np.sort(np.log(width / height))
    uniform = (np.arange(4000) + 0.5) / 4000
    assert np.abs((share - 0.1) / 0.4 - uniform).max() < 0.03  # Kolmogorov-Smirnov: 0.026 at 1 %
    assert np.abs(log_aspect / math.log(4) + 0.5 - uniform).max() < 0.03
    for start, length in ((boxes[:, 0], width), (boxes[:, 1], height)):
        assert np.abs(np.sort(start / (1000 - length)) - uniform).max() < 0.03


@pytest.mark.parametrize("height, width, expected", [(10, 1000, (493, 0, 506, 10)), (1000, 12, (0, 492, 12, 508))])
def test_resized_crop_that_cannot_fit_is_centred(height, width, expected):
    """Of a strip the largest centred box of an allowed ratio: 10 x 13.3 and 12 x 16 pixels."""
    rng = np.random.default_rng(0)
    boxes = {random_box(height, width, (0.9, 1), (3 / 4, 4 / 3), rng) for _ in range(20)}
    assert boxes == {expected}


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 60), width=st.integers(1, 60), seed=st.integers(0, 1000))
def test_resized_crop_on_any_size(height, width, seed):
    transform = TrainTransform(Preprocess(16, **PLAIN), "resized")
    left, top, right, bottom = random_box(height, width, transform.scale, transform.ratio, np.random.default_rng(seed))
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    assert transform(photo(height, width), np.random.default_rng(seed)).shape == (3, 16, 16)


def test_resized_crop_shows_the_box():
    image = photo(40, 60)
    transform = TrainTransform(Preprocess(16, **PLAIN), "resized", hflip=0)
    box = random_box(40, 60, transform.scale, transform.ratio, np.random.default_rng(5))
    whole = np.asarray(Image.fromarray(image).resize((16, 16), Image.BICUBIC, box=box)).transpose(2, 0, 1)
    np.testing.assert_allclose(transform(image, np.random.default_rng(5)), whole, atol=1e-4)


def test_colour_jitter():
    """Each factor alone is uniform in 1 - s .. 1 + s, and the order of the three changes."""
    grey = Image.new("RGB", (4, 4), (100, 100, 100))  # contrast and saturation leave it alone
    rng = np.random.default_rng(0)
    values = np.sort([np.asarray(jitter_colours(grey, 0.4, rng))[0, 0, 0] for _ in range(3000)]) / 100
    uniform = (np.arange(3000) + 0.5) / 3000
    assert values.min() >= 0.59 and values.max() <= 1.4
    assert np.abs((values - 0.595) / 0.8 - uniform).max() < 0.04
    assert {int(np.asarray(jitter_colours(grey, 3.0, rng)).max()) for _ in range(300)} >= {0, 255}
    image = Image.fromarray(photo(8, 8))
    rng = np.random.default_rng(5)
    outputs = {jitter_colours(image, 0.4, rng).tobytes() for _ in range(50)}
    assert len(outputs) == 50


def test_colour_jitter_is_pillows_enhancers_in_a_drawn_order():
    image = Image.fromarray(photo(8, 8))
    seen = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        order, expected = rng.permutation(3), image
        for choice in order:
            enhancer = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[choice]
            expected = enhancer(expected).enhance(rng.uniform(0.7, 1.3))
        assert jitter_colours(image, 0.3, np.random.default_rng(seed)) == expected
        seen.add(tuple(order))
    assert len(seen) == 6


def test_order_of_the_stages():
    """RandAugment fills with the mean colour, normalisation then makes it 0, and erasing covers it all with noise."""
    preprocess = Preprocess(32, (0.5,) * 3, (0.25,) * 3)
    image = np.full((32, 32, 3), 255, np.uint8)
    moved = TrainTransform(preprocess, hflip=0, auto_augment="rand-m10-n6")
    outs = np.stack([moved(image, np.random.default_rng(seed)) for seed in range(60)])
    assert (np.abs(outs) < 0.01).any() and (outs == 2).any()
    noisy = TrainTransform(preprocess, hflip=0, auto_augment="rand-m10-n6", erasing=RandomErasing(1))
    for seed in range(10):
        plain, erased = (transform(image, np.random.default_rng(seed)) for transform in (moved, noisy))
        changed = plain != erased
        assert 0.01 < changed.mean() < 0.35 and np.abs(erased[changed]).mean() > 0.3


def test_the_aspect_ratio_of_a_crop_is_width_by_height():
    """Between 2 and 3: all boxes are wider than high, also those of the last resort."""
    rng = np.random.default_rng(0)
    for height, width in ((600, 600), (100, 1000), (1000, 100)):
        for _ in range(50):
            left, top, right, bottom = random_box(height, width, (0.05, 0.2), (2, 3), rng)
            assert 1.9 < (right - left) / (bottom - top) < 3.1


def test_the_aspect_ratio_of_erasing_is_height_by_width():
    image = np.zeros((3, 200, 200), np.float32)
    for seed in range(20):
        erased = image.copy()
        RandomErasing(1, (0.05, 0.1), (2, 3))(erased, np.random.default_rng(seed))
        height, width = np.any(erased[0], 1).sum(), np.any(erased[0], 0).sum()
        assert 1.9 < height / width < 3.1
