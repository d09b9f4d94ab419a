"""Drop path: rates by depth, and masks that are a function of seed, step and position."""

import numpy as np
import pytest
from mindspore import Tensor

from neonext_ms import create_model
from neonext_ms.training.drop_path import drop_path_masks, drop_path_rates
from tests.support.tiny import TINY


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


@pytest.mark.parametrize("block, name", [(0, "stages.0.0"), (1, "stages.1.0"), (2, "stages.1.1")])
def test_each_block_has_a_mask_of_its_own(block, name):
    """A block that is dropped is one whose branch adds nothing."""

    def outputs(kept, silent=()):
        network = create_model("neonext_pico", 10, seed=0, drop_path_rate=0.5, **TINY | {"depths": [1, 2]})
        network.set_train(True)
        for name in silent:
            weight = next(p for p in network.get_parameters() if p.name == name)
            weight.set_data(Tensor(np.zeros(weight.shape, np.float32)))
        images = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
        return network(Tensor(images), Tensor(np.repeat(np.float32(kept)[:, None], 3, 1))).asnumpy()

    dropped = outputs([float(i != block) for i in range(3)])
    np.testing.assert_array_equal(dropped, outputs([1, 1, 1], [f"{name}.fc2.weight"]))
    assert not np.allclose(dropped, outputs([1, 1, 1]))
