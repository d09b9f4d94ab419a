"""What people who know timm expect of a model and of the package."""

import mindspore as ms
import numpy as np
import pytest

import neonext_ms
from neonext_ms import create_model, list_models, ops, training
from neonext_ms.errors import UserError
from neonext_ms.ops import Group, parse_spec
from neonext_ms.training import TrainConfig
from tests.support.tiny import TINY


def small(classes=4, **options):
    return create_model("neonext_pico", classes, seed=0, **{**TINY, **options})


@pytest.fixture(autouse=True)
def graph_mode():
    ms.set_context(mode=ms.GRAPH_MODE)


def test_models_are_listed_by_pattern():
    assert list_models("*_[ts]*v2") == ["neonext_t_v2", "neonext_s_v2"] and list_models("resnet*") == []


def test_lazy_names_are_completed():
    for package, names in ((neonext_ms, {"create_model"}), (ops, {"NeoCell", "Group"}), (training, {"train"})):
        assert names <= set(dir(package)) and set(package.__all__) <= set(dir(package))


def test_the_classifier_is_drawn_anew():
    """Also where the graph with the old one has been compiled; the other weights stay."""
    network, images = small(), ms.Tensor(np.ones((2, 3, 32, 32), np.float32))
    before = network.forward_features(images).asnumpy()
    assert network(images).shape == (2, 4) and network.num_features == 16
    assert network.get_classifier().weight.shape == (4, 16)
    network.reset_classifier(3, seed=5)
    assert network(images).shape == (2, 3) and network.num_classes == network.default_cfg["num_classes"] == 3
    assert [p.name for p in network.trainable_params()][-2:] == ["head.fc.weight", "head.fc.bias"]
    network.reset_classifier(0)
    assert network(images).shape == (2, 16) and network.get_classifier() is None
    network.reset_classifier(2)
    assert network(images).shape == (2, 2)
    np.testing.assert_array_equal(network.forward_features(images).asnumpy(), before)
    with pytest.raises(UserError, match="features_only has no classifier"):
        small(features_only=True).reset_classifier(3)


def test_the_stages_that_are_asked_for():
    images = ms.Tensor(np.random.default_rng(0).random((2, 3, 32, 32), np.float32))
    both = small(features_only=True)(images)
    network = small(features_only=True, out_indices=[np.int64(-1)])
    (last,) = network(images)
    np.testing.assert_array_equal(last.asnumpy(), both[1].asnumpy())
    assert network.feature_info == [{"num_chs": 16, "reduction": 8, "module": "stages.1"}]
    for options in ({"out_indices": (2,)}, {"out_indices": ()}, {"out_indices": (0.5,)}):
        with pytest.raises(UserError, match="out_indices must be numbers of stages, 0 to 1"):
            small(features_only=True, **options)
    with pytest.raises(UserError, match="give both, or neither"):
        small(out_indices=(0,))


def test_what_a_fresh_model_expects():
    expected = {"architecture": "neonext_t", "num_classes": 10, "input_size": (3, 224, 224)}
    expected |= {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "crop_pct": 0.875}
    expected |= {"interpolation": "bicubic", "first_conv": "stem.proj", "classifier": "head.fc", "label_names": None}
    one_block = {"depths": (1,) * 4, "dims": (4,) * 4}
    assert create_model("neonext_t", 10, seed=0, **one_block).default_cfg == expected
    assert small(in_chans=2).default_cfg["std"] == (0.229, 0.224)
    for name in ("neonext_pico", "neonext_pico_v3"):
        assert create_model(name, 10, seed=0).default_cfg["input_size"] == (3, 32, 32)


def test_print_shows_sizes_and_nothing_else():
    lines = repr(small(linear_bias=True, backend="dense")).splitlines()
    assert lines[1] == "  in_chans=3, num_classes=4, 5,540 trainable parameters"
    assert "    (proj): Pointwise(48 -> 8, bias=False)" in lines
    assert "        (neocell): NeoCell(4 x 4x4 shifted by 1, 4 x 7x7 shifted by 1, backend='dense')" in lines
    assert "        (mlp): MLP(16 -> 64 -> 16, GELU)" in lines
    assert max(map(len, lines)) < 100


def test_numpy_integers_are_integers(tmp_path):
    eight = np.int64(8)
    assert Group.square(np.int32(4), eight, np.uint8(1)) == Group(8, (4, 4), (4, 4), (1, 1))
    assert parse_spec("4+7", eight, np.int8(1)) == parse_spec("4+7", 8, 1)
    network = create_model("neonext_pico", np.int64(4), np.int64(0), in_chans=np.int16(1), depths=np.array([1, 1]),
                           dims=np.array([8, 16]), kernels=["4+7", "7"], shifts=np.array([1, 0]))  # fmt: skip
    assert network.spec == small(in_chans=1).spec and type(network.default_cfg["num_classes"]) is int
    config = TrainConfig(epochs=np.int64(3), batch_size=np.int32(8), shifts=tuple(np.array([1, 0])))
    assert config == TrainConfig(epochs=3, batch_size=8, shifts=(1, 0)) and "epochs: 3\n" in config.to_yaml()
    for wrong in (True, 2.0, "2", None):
        with pytest.raises(UserError, match=f"in_chans must be an integer of at least 1, got {wrong!r}"):
            small(in_chans=wrong)
