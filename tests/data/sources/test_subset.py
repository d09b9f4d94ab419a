"""A part of a data set is spread over it and says of a sample what the whole says."""

import numpy as np
import pytest

from neonext_ms.data import open_source
from neonext_ms.data.sources.subset import Subset
from neonext_ms.errors import UserError


def test_a_subset_is_the_samples_it_keeps():
    whole = open_source("digits", None, "val")
    part = Subset(whole, 3)
    assert len(part) == 3 and part.class_names == whole.class_names and part.mean == whole.mean
    assert list(part.labels) == [whole.labels[i] for i in (0, 120, 240)]
    np.testing.assert_array_equal(part.image(2), whole.image(240))
    assert part.describe(1) == whole.describe(120)
    image, box = part.region(1, lambda height, width: (0, 0, height, width), 8)
    other, _ = whole.region(120, lambda height, width: (0, 0, height, width), 8)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(other))


def test_another_part_is_another_listing():
    whole = open_source("digits", None, "val")
    assert len({whole.listing(), Subset(whole, 359).listing(), Subset(whole, 3).listing()}) == 3
    assert Subset(whole, 3).listing() == Subset(whole, 3).listing()


def test_more_than_there_is():
    with pytest.raises(UserError, match="digits/val has 360 images, fewer than the 361 that are asked for"):
        Subset(open_source("digits", None, "val"), 361)
