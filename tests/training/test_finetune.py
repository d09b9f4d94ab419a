"""Training that begins with another run's weights."""

import mindspore as ms
import numpy as np
import pytest

from neonext_ms import create_model
from neonext_ms.checkpoint.network import assign_weights
from neonext_ms.checkpoint.store import save_weights
from neonext_ms.data import Preprocess
from neonext_ms.errors import UserError
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.assemble import make_steps
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.drop_path import drop_path_rates
from neonext_ms.training.finetune import freeze_stages, load_pretrained
from tests.support.tiny import TINY

RNG = np.random.default_rng(0)


def small_network(classes=4, seed=1, **overrides):
    return create_model("neonext_pico", classes, seed=seed, **{**TINY, **overrides})


def values_of(network):
    return {p.name: p.asnumpy().copy() for p in network.get_parameters()}


@pytest.fixture
def checkpoint(tmp_path):
    """(path, its weights) of four classes at 32 pixels."""
    network = small_network()
    card = {"model": {"name": "neonext_pico", "num_classes": 4, "overrides": {"shifts": [1, 0]}}}
    card |= {"preprocess": Preprocess(32, (0.5,) * 3, (0.5,) * 3).to_dict(), "class_names": list("abcd")}
    save_weights(tmp_path / "a.ckpt", network, {**card, "dataset": None, "epoch": 1, "step": 1, "metrics": {}})
    return tmp_path / "a.ckpt", values_of(network)


@pytest.mark.parametrize("classes", [list("abcd"), list("wxyz"), list("abcdefg")])
def test_the_head_is_drawn_anew_for_other_classes(checkpoint, classes):
    path, weights = checkpoint
    network = small_network(len(classes), seed=2)
    fresh = values_of(network)
    said, _ = load_pretrained(network, path, classes)
    same = classes == list("abcd")
    assert "\n" not in said and str(path) in said and ("drawn anew" in said) != same
    assert same or f"{len(classes)} classes" in said
    for name, value in values_of(network).items():
        expected = fresh if name.startswith("head.fc") and not same else weights
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_another_resolution_with_another_shift(checkpoint):
    path, weights = checkpoint
    network = small_network(shifts=(1, 1))
    said, _ = load_pretrained(network, path, list("abcd"))
    assert "32 pixels" in said and "shifts [1, 0]" in said
    np.testing.assert_array_equal(network.stages[1][0].neocell.left[0].asnumpy(), weights["stages.1.0.neocell.left.0"])
    ms.set_context(mode=ms.GRAPH_MODE)
    images = ms.Tensor(RNG.standard_normal((1, 3, 64, 64)).astype(np.float32))
    assert network.set_train(False)(images).shape == (1, 4)


def test_another_model_is_refused(checkpoint):
    with pytest.raises(UserError, match="does not fit the network"):
        load_pretrained(small_network(dims=(8, 24)), checkpoint[0], list("abcd"))
    with pytest.raises(UserError, match="there is no checkpoint"):
        load_pretrained(small_network(), checkpoint[0].with_name("none.ckpt"), list("abcd"))


def test_weights_of_another_type_are_refused():
    network = small_network()
    weights = values_of(network)
    weights["stem.proj.weight"] = weights["stem.proj.weight"].astype(np.float16)
    with pytest.raises(UserError, match="1 differences, .*: stem.proj.weight is .* float16, expected .* float32"):
        assign_weights(network, weights, "x.ckpt")


def test_frozen_stages_stay_as_they_are():
    ms.set_context(mode=ms.GRAPH_MODE)
    network = small_network(depths=(2, 1))
    freeze_stages(network, 1)
    assert drop_path_rates(0.4, 3, frozen=2) == (0.0, 0.0, 0.4)
    train_step, _ = make_steps(TrainConfig(batch_size=8, ema_decay=0.9), network, Ranks(0, 1, "CPU"))
    before = values_of(network)
    images = RNG.standard_normal((8, 3, 32, 32)).astype(np.float32)
    train_step(images, RNG.dirichlet(np.ones(4), 8).astype(np.float32), np.ones((3, 8), np.float32), 1e-2)
    moved = {name for name, value in values_of(network).items() if not np.array_equal(value, before[name])}
    assert moved == {name for name in before if not name.startswith(("stem.", "stages.0."))}
    assert "downsamples.0.norm.moving_mean" in moved
    assert not any("stages.0" in name and "moment" in name for name in train_step.state())


def test_more_stages_than_there_are():
    network = small_network()
    with pytest.raises(UserError, match="freeze_stages .=3. is more than the 2 stages"):
        freeze_stages(network, 3)
    freeze_stages(network, 2)
    assert all(p.name.startswith("head.") for p in network.trainable_params())
