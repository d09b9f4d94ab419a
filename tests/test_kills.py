"""A few kills by the harness that is meant for many: python -m tests.support.kills."""

import random

import pytest

from tests.support.kills import compare, image_folder


@pytest.mark.slow
def test_a_packing_that_is_killed_again_and_again_is_the_one_that_was_not(tmp_path):
    image_folder(tmp_path / "images")
    compare("pack", tmp_path, tmp_path, kills=3, rng=random.Random(0))
