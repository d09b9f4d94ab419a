"""Random erasing against its distributions."""

import math

import numpy as np
import pytest

from neonext_ms.data import RandomErasing
from neonext_ms.errors import UserError

UNIFORM = (np.arange(3000) + 0.5) / 3000
LIMIT = 0.03  # Kolmogorov-Smirnov of 3000: 0.0297 at 1 %


def erased(erasing, side, rng):
    """Rows and columns of what was erased (as bool) and the noise; None if nothing was."""
    image = np.full((3, side, side), 100, np.float32)
    erasing(image, rng)
    changed = (image != 100).all(0)
    if not changed.any():
        return None
    rows, columns = changed.any(1), changed.any(0)
    assert (changed == rows[:, None] & columns).all(), "one full rectangle, in all channels"
    return rows, columns, image[:, changed]


def test_probability():
    rng = np.random.default_rng(0)
    share = np.mean([erased(RandomErasing(0.25), 16, rng) is not None for _ in range(4000)])
    assert abs(share - 0.25) < 0.03  # 4 standard deviations
    assert all(erased(RandomErasing(0), 16, rng) is None for _ in range(50))


def test_area_ratio_and_position():
    """Small rectangles always fit: area share, log ratio and place are uniform."""
    rng, side = np.random.default_rng(1), 200
    found = [erased(RandomErasing(1, (0.02, 0.2), (0.5, 2)), side, rng) for _ in range(3000)]
    heights, widths = (np.array([entry[axis].sum() for entry in found], float) for axis in (0, 1))
    share = np.sort(heights * widths / side**2)
    assert np.abs((share - 0.02) / 0.18 - UNIFORM).max() < LIMIT
    assert np.abs(np.sort(np.log(heights / widths)) / math.log(4) + 0.5 - UNIFORM).max() < LIMIT
    for axis, lengths in ((0, heights), (1, widths)):
        starts = np.array([np.argmax(entry[axis]) for entry in found])
        assert np.abs(np.sort((starts + 0.5) / (side - lengths + 1)) - UNIFORM).max() < LIMIT


def test_the_ratio_is_that_of_height_to_width():
    rows, columns, _ = erased(RandomErasing(1, (0.1, 0.1), (4, 4)), 100, np.random.default_rng(5))
    assert (rows.sum(), columns.sum()) == (63, 16)  # sqrt(1000 x 4) and sqrt(1000 / 4)


def test_every_place_is_reached():
    rng = np.random.default_rng(4)
    found = [erased(RandomErasing(1, (0.25, 0.25), (1, 1)), 4, rng) for _ in range(900)]
    places = {(int(np.argmax(rows)), int(np.argmax(columns))) for rows, columns, _ in found}
    assert places == {(top, left) for top in range(3) for left in range(3)}


def test_noise_is_standard_normal_and_independent():
    rng = np.random.default_rng(2)
    noise = erased(RandomErasing(1, (0.3, 0.33), (1, 1)), 200, rng)[2]
    assert noise.dtype == np.float32 and noise.shape[1] > 10000
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02 and abs((noise**4).mean() - 3) < 0.2
    assert np.abs(np.corrcoef(noise) - np.eye(3)).max() < 0.04
    assert abs(np.corrcoef(noise[0, 1:], noise[0, :-1])[0, 1]) < 0.04


def test_the_usual_ranges():
    """On the defaults: between 2 % and a third of the area, ratios from 0.3 to 3.3, and never a whole side."""
    rng = np.random.default_rng(3)
    found = [erased(RandomErasing(1), 64, rng) for _ in range(500)]
    heights, widths = (np.array([entry[axis].sum() for entry in found], float) for axis in (0, 1))
    share, ratio = heights * widths / 64**2, heights / widths
    assert 0.015 < share.min() < 0.04 and 0.28 < share.max() < 0.345
    assert 0.27 < ratio.min() < 0.4 and 2.5 < ratio.max() < 3.7
    assert max(heights.max(), widths.max()) <= 63


def test_a_rectangle_that_cannot_fit_leaves_the_image():
    assert erased(RandomErasing(1, (0.5, 0.5), (4, 4)), 32, np.random.default_rng(0)) is None


@pytest.mark.parametrize(
    "values, message",
    [
        ((1.5,), "re_prob"),
        ((0.5, (0, 0.3)), "re_scale"),
        ((0.5, (0.3, 0.2)), "re_scale"),
        ((0.5, (0.1, 0.2), (2, 1)), "re_ratio"),
    ],
)
def test_bad_values(values, message):
    with pytest.raises(UserError, match=f"^{message} must be"):
        RandomErasing(*values)
