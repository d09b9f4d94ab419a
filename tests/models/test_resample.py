"""Networks with other block sizes."""

import numpy as np
import pytest
from mindspore import Tensor

from neonext_ms import create_model
from neonext_ms.errors import UserError
from neonext_ms.models.resample import resample_network
from neonext_ms.ops.init import averaging_identity, neo_init
from neonext_ms.ops.resample import resample_left, resample_right
from tests.support.tiny import TINY


@pytest.fixture(params=[False, True], ids=["paper", "gate"])
def network(request):
    return create_model("neonext_pico", 10, seed=0, gate=request.param, **TINY)


def test_blocks_are_resampled_and_all_else_is_copied(network):
    made = resample_network(network, ("8+14", "12"))
    assert (made.spec.kernels, made.spec.shifts) == (("8+14", "12"), (2, 0))
    values = {p.name: p.asnumpy() for p in network.get_parameters()}
    changed = 0
    for parameter in made.get_parameters():
        name, value = parameter.name, parameter.asnumpy()
        if name.startswith("stages") and "neocell" in name:
            side = resample_left if "left" in name else resample_right
            np.testing.assert_array_equal(value, side(values[name], *value.shape[1:]).astype(np.float32))
            changed += 1
        else:
            np.testing.assert_array_equal(value, values[name])
    assert changed == 6  # both sides of 4, 7 and 7


def test_one_number_is_the_new_size_of_the_largest_blocks(network):
    made = resample_network(network, ["14"])
    assert (made.spec.kernels, made.spec.shifts) == (("8+14", "14"), (2, 0))


def test_all_that_is_no_block_stays(network):
    features = create_model("neonext_pico", features_only=True, out_indices=(-1,), drop_path_rate=0.1, seed=0, **TINY)
    made = resample_network(features, ("8+14", "14"))
    assert (made.out_indices, made.drop_path_rate, made.feature_info) == ((1,), 0.1, features.feature_info)
    assert resample_network(network, ["14"]).default_cfg == network.default_cfg != {}


def test_the_same_sizes_are_the_same_network(network):
    images = Tensor(np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32))
    made = resample_network(network, network.spec.kernels)
    np.testing.assert_array_equal(made(images).asnumpy(), network(images).asnumpy())


def test_a_network_of_identities_stays_what_it_is(network):
    """A = E and B = E: on any plane, with blocks of any size, the NeoCells of the stages do nothing."""
    rng = np.random.default_rng(0)
    for stage in network.stages:
        for block in stage:
            for parameter in [*block.neocell.left, *block.neocell.right]:
                channels, k, _ = parameter.shape
                parameter.set_data(Tensor(neo_init(channels, k, k, rng, noise=0)))
    images = Tensor(rng.standard_normal((2, 3, 48, 48)).astype(np.float32))
    made = resample_network(network, ("12+21", "3"))
    np.testing.assert_array_equal(made.stages[1][0].neocell.left[0].asnumpy()[0], averaging_identity(3, 3))
    np.testing.assert_allclose(made(images).asnumpy(), network(images).asnumpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "kernels, words",
    [
        (("8+14",), ["2 stages", "8+14"]),
        (("12",), ["stage 1", "blocks of 4", "those of 7 to 12", "multiple of 7"]),
        (("0",), ["'0+0'"]),
        (("14", "7"), ["stage 1", "4+7", "as many sizes", "'14'"]),
        (("8+7", "7"), ["stage 1", "8+7", "same factor"]),
        (("6+7", "7"), ["4 x 4", "6 x 6", "multiple of 4"]),
        (("8-14", "7"), ["8-14"]),
    ],
)
def test_mistakes_are_named_in_one_line(network, kernels, words):
    with pytest.raises(UserError) as error:
        resample_network(network, kernels)
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words), str(error.value)
