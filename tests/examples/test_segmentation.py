"""The example of a segmentation network on trained features, reduced."""

import mindspore as ms
import numpy as np
import pytest

from neonext_ms import create_model
from neonext_ms.checkpoint.network import load_features, load_network
from neonext_ms.checkpoint.store import save_weights
from neonext_ms.data import Preprocess
from neonext_ms.errors import UserError
from neonext_ms.examples.segmentation import (
    CLASSES,
    FIELD,
    FILLED,
    OFF,
    SIDE,
    Scenes,
    Segmenter,
    evaluate,
    mean_iou,
    train,
)
from tests.support.tiny import TINY


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    ms.set_context(mode=ms.GRAPH_MODE)
    path = tmp_path_factory.mktemp("run") / "x.ckpt"
    preprocess = Preprocess(32, (0.3,) * 3, (0.35,) * 3).to_dict()
    card = {
        "model": {"name": "neonext_pico", "num_classes": 10, "overrides": TINY},
        "preprocess": preprocess,
        "class_names": [str(i) for i in range(10)],
        "dataset": None,
    }
    save_weights(path, create_model("neonext_pico", 10, seed=5, **TINY), card)
    return path


def test_features_are_those_of_the_trained_network(checkpoint):
    """Its head makes its logits of them."""
    network, _ = load_network(checkpoint)
    x = ms.Tensor(np.random.default_rng(0).standard_normal((2, 3, 64, 32)).astype(np.float32))
    features = load_features(checkpoint)
    stages = features(x)
    assert [stage.shape for stage in stages] == [(2, 8, 16, 8), (2, 16, 8, 4)]
    assert [info["num_chs"] for info in features.feature_info] == [8, 16]
    np.testing.assert_allclose(network.head(stages[-1]).asnumpy(), network(x).asnumpy(), atol=1e-5)
    with pytest.raises(UserError, match="there is no checkpoint"):
        load_features("gone.ckpt")


def test_scenes_say_which_digit_is_under_every_pixel():
    scenes = Scenes("val")
    images, labels = scenes.batch(64, 7)
    assert images.shape == (64, 3, SIDE, SIDE) and labels.shape == (64, SIDE, SIDE)
    brightness = images[:, 0] * scenes.std + scenes.mean
    assert (brightness[labels > 0] > 0.4).all() and (brightness[labels == 0] < 0.31).all()
    assert set(np.unique(labels)) == set(range(CLASSES))
    centres = labels.reshape(64, 2, FIELD, 2, FIELD)[:, :, OFF:-OFF, :, OFF:-OFF]
    digits = [np.setdiff1d(centres[n, i, :, j], 0) for n in range(64) for i in (0, 1) for j in (0, 1)]
    filled = [len(found) for found in digits if len(found)]
    assert max(filled) <= 2 and np.mean(filled) < 1.1, "a field has one digit, but for what a neighbour sticks into it"
    assert len(filled) / len(digits) == pytest.approx(FILLED, abs=0.1)
    again, other = scenes.batch(64, 7)[0], scenes.batch(64, 8)[0]
    np.testing.assert_array_equal(images, again)
    assert (images != other).any()


def test_mean_iou_by_hand():
    labels = np.array([[0, 0, 1, 1, 2]])
    assert mean_iou(labels, labels) == 1
    assert mean_iou(np.array([[0, 1, 1, 1, 1]]), labels) == pytest.approx((1 / 2 + 2 / 4 + 0) / 3)
    assert mean_iou(np.zeros_like(labels), labels) == pytest.approx((2 / 5) / 3)


def test_training_finds_digits_and_moves_the_features_at_their_own_rate(checkpoint):
    features = load_features(checkpoint)
    before = features.stem.proj.weight.asnumpy().copy()
    network = Segmenter(features, CLASSES)
    losses = []
    images, labels = Scenes("val").batch(8, 0)
    # A network as small as this needs a rate that would be too large for a real one.
    train(network, Scenes("train"), 80, 8, 3e-2, features_lr=1e-3, seed=0, report=lambda _, loss: losses.append(loss))
    assert np.mean(losses[-5:]) < 0.5 * losses[0]
    assert evaluate(network, images, labels, 8) > 1.1 * mean_iou(np.zeros_like(labels), labels)
    moved = np.abs(features.stem.proj.weight.asnumpy() - before).max()
    assert 1e-4 < moved < 80 * 1e-3, "no update of AdamW is much larger than the rate"
