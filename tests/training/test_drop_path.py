"""Drop path: rates by depth, and masks that are a function of seed, step and position."""

import numpy as np

from neonext_ms.training.drop_path import drop_path_masks, drop_path_rates


def test_drop_path_masks_are_a_function_of_seed_step_and_position():
    rates = drop_path_rates(0.4, 5)
    np.testing.assert_allclose(rates, [0, 0.1, 0.2, 0.3, 0.4])
    whole = drop_path_masks(rates, np.arange(64), seed=3, step=7)
    assert whole.shape == (5, 64) and whole.dtype == np.float32
    halves = [drop_path_masks(rates, np.arange(i, i + 32), seed=3, step=7) for i in (0, 32)]
    np.testing.assert_array_equal(whole, np.concatenate(halves, 1))
    assert not np.array_equal(whole, drop_path_masks(rates, np.arange(64), seed=3, step=8))
    assert not np.array_equal(whole, drop_path_masks(rates, np.arange(64), seed=4, step=7))
    many = drop_path_masks(rates, np.arange(40000), seed=0, step=0)
    np.testing.assert_allclose((many == 0).mean(1), rates, atol=0.01)
    np.testing.assert_allclose(many.mean(1), 1, atol=0.02)
    assert drop_path_rates(0.3, 1) == (0.0,)
