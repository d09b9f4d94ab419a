"""Generators of different keys are unrelated, those of one key equal."""

import itertools

import numpy as np

from neonext_ms.data.seeding import MIXING, ORDER, SAMPLE, generator


def test_every_word_of_the_key_counts():
    keys = list(itertools.product((0, 1, 2**40), (ORDER, SAMPLE, MIXING), (0, 1), (0, 1)))
    keys += [key[:-1] for key in keys if key[-1] == 0]  # a missing word is not a zero
    draws = {generator(*key).bytes(16) for key in keys}
    assert len(draws) == len(keys)


def test_the_same_key_gives_the_same_numbers():
    np.testing.assert_array_equal(generator(3, SAMPLE, 1, 2).random(5), generator(3, SAMPLE, 1, 2).random(5))
