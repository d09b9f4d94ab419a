"""The shear against Pillow's affine transform."""

import numpy as np
import pytest
from PIL import Image

from neonext_ms.data.shear import shear

FILL = (124, 16, 204)


def pictures():
    rng = np.random.RandomState(0)
    for height, width in ((24, 30), (31, 9), (1, 5), (5, 1)):
        coarse = Image.fromarray(rng.randint(0, 256, (6, 7, 3)).astype(np.uint8))
        yield np.asarray(coarse.resize((width, height), Image.BICUBIC))
        yield rng.randint(0, 256, (height, width, 3)).astype(np.uint8)
        yield np.full((height, width, 3), (0, 124, 255), np.uint8)


@pytest.mark.parametrize("resample", [Image.Resampling.BICUBIC, Image.Resampling.BILINEAR])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("slope", [0.0, 0.031, 0.27, -0.27, 1.5, -40.0])
def test_shear_is_pillows_affine_transform(slope, axis, resample):
    matrix = (1, 0, 0, slope, 1, 0) if axis else (1, slope, 0, 0, 1, 0)
    for pixels in pictures():
        image = Image.fromarray(pixels)
        expected = np.asarray(image.transform(image.size, Image.Transform.AFFINE, matrix, resample, fillcolor=FILL))
        sheared = shear(image, slope, axis, resample, FILL)
        assert sheared.mode == "RGB" and sheared.size == image.size
        difference = np.abs(np.asarray(sheared).astype(int) - expected)
        assert difference.max() <= 1 and (difference > 0).mean() < 0.01, "but for fractions that round another way"


def test_the_image_itself_stays():
    pixels = next(pictures())
    image = Image.fromarray(pixels)
    shear(image, 0.3, 0, Image.Resampling.BICUBIC, FILL)
    np.testing.assert_array_equal(np.asarray(image), pixels)
