"""NeoNeXt against the authors' small network, and what it promises about sizes, features and drop path."""

import json

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from neonext_ms import create_model, list_models
from neonext_ms.errors import UserError
from neonext_ms.models.neonext import NeoNeXt, NeoNeXtSpec
from neonext_ms.ops.init import averaging_identity
from tests.support.gradients import assert_as_near
from tests.support.paths import FIXTURES
from tests.support.tiny import TINY

FIXTURE = np.load(FIXTURES / "neonext_tiny_official.npz")
PARAMETERS = {  # trainable parameters; those given in millions are rounded
    "neonext_t": 27_682_888,
    "neonext_s": 49.608e6,
    "neonext_b": 87.254e6,
    "neonext_l": 194.213e6,
    "neonext_t_v2": 27.533e6,
    "neonext_s_v2": 49.271e6,
    "neonext_b_v2": 86.805e6,
    "neonext_l_v2": 193.539e6,
    # A block of C channels: 6 C^2 in fc1 and fc2, 2 C of BatchNorm, 130 C of blocks 4+7 or 196 C of blocks 7.
    "neonext_t_v3": 29_321_928,
    "neonext_s_v3": 52.595e6,
    "neonext_b_v3": 85.482e6,
    "neonext_pico_v3": 1_262_512,
}


@pytest.fixture(autouse=True)
def graph_mode():
    ms.set_context(mode=ms.GRAPH_MODE)


def official_name(name: str) -> str:
    """The authors' name of one of our parameters."""
    leaf = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    parts = name.split(".")
    if parts[-2] == "norm":
        parts[-1] = leaf[parts[-1]]
    if parts[0] == "stem":
        return f"stem.{'conv' if parts[1] == 'proj' else 'norm'}.{parts[-1]}"
    if parts[0] == "head":
        return f"head.{'ln' if parts[1] == 'norm' else 'fc'}.{parts[-1]}"
    if "neocell" in parts:
        parts[-2:] = [f"weight_{'a' if parts[-2] == 'left' else 'b'}", parts[-1]]
    if parts[0] == "downsamples":
        inner = ".".join(parts[2:]).replace("proj", "conv").replace("norm", "norm_1")
        return f"downsample_{int(parts[1]) + 1}.{inner}"
    inner = ".".join(parts[3:]).replace("fc1", "fc_1").replace("fc2", "fc_2")
    inner = inner.replace("layer_scale", "layer_scale.gamma")
    return f"stage_{int(parts[1]) + 1}.{parts[2]}.ops.content.{inner}"


def official_network(**arguments) -> NeoNeXt:
    """The fixture's network with the authors' weights."""
    kwargs = json.loads(str(FIXTURE["kwargs"]))
    spec = NeoNeXtSpec(
        depths=kwargs["per_stage_layers"],
        dims=kwargs["dims"],
        kernels=(kwargs["kernel_spec"],) * 4,
        linear_bias=kwargs["linear_bias"],
        layer_scale=kwargs["layer_scale_init_value"],
    )
    network = NeoNeXt(spec, kwargs["num_classes"], **arguments)
    names = {official_name(p.name) for p in network.get_parameters()}
    expected = {k[6:] for k in FIXTURE if k.startswith("state/") and "num_batches" not in k}
    assert names == {n for n in expected if not (arguments.get("features_only") and n.startswith("head"))}
    for parameter in network.get_parameters():
        value = FIXTURE["state/" + official_name(parameter.name)]
        parameter.set_data(Tensor(value.reshape(parameter.shape)))
    return network


def assert_close(actual, expected, relative=1e-4):
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= relative * np.abs(expected).max()


@pytest.mark.parametrize("backend", ["auto", "dense"])
def test_official_evaluation(backend):
    logits = official_network(backend=backend).set_train(False)(Tensor(FIXTURE["x"]))
    assert_close(logits.asnumpy(), FIXTURE["logits_eval"])
    stages = official_network(features_only=True, backend=backend).set_train(False)(Tensor(FIXTURE["x"]))
    assert len(stages) == 4
    for i, stage in enumerate(stages, 1):
        assert_close(stage.asnumpy(), FIXTURE[f"stage_{i}"])


class Loss(nn.Cell):
    """Cross-entropy with label smoothing 0.1, as the fixture was made."""

    def __init__(self, network):
        super().__init__(auto_prefix=False)
        self.network = network
        self.criterion = nn.CrossEntropyLoss(label_smoothing=0.1)

    def construct(self, x, target):
        logits = self.network(x)
        return self.criterion(logits, target), logits


@pytest.mark.parametrize("backend", ["auto", "dense"])
def test_official_training_loss_and_every_gradient(backend):
    network = official_network(backend=backend).set_train(True)
    parameters = network.trainable_params()
    gradient = ops.value_and_grad(Loss(network), None, ms.ParameterTuple(parameters), has_aux=True)
    (loss, logits), grads = gradient(Tensor(FIXTURE["x"]), Tensor(FIXTURE["target"].astype(np.int32)))
    assert_close(logits.asnumpy(), FIXTURE["logits_train"])
    assert abs(float(loss.asnumpy()) - FIXTURE["loss"]) <= 1e-4 * FIXTURE["loss"]
    assert len(parameters) == sum(key.startswith("grad/") for key in FIXTURE)
    largest = max(np.abs(FIXTURE[key]).max() for key in FIXTURE if key.startswith("grad/"))
    for parameter, grad in zip(parameters, grads):
        expected = FIXTURE["grad/" + official_name(parameter.name)].reshape(parameter.shape)
        # A shift before a BatchNorm has no effect: what is left of its gradient is rounding, of the size of the
        # gradients that cancel in it.
        tolerance = 1e-4 * np.abs(expected).max() + 1e-5 * largest
        assert np.abs(grad.asnumpy() - expected).max() <= tolerance, parameter.name


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts(name):
    count = sum(p.size for p in create_model(name, seed=0).trainable_params())
    expected = PARAMETERS[name]
    assert count == expected if isinstance(expected, int) else round(count / 1e3) == round(expected / 1e3)


def test_every_size_that_fits_runs_with_the_same_weights():
    network = create_model("neonext_pico", 10, seed=0).set_train(False)
    before = {p.name: p.asnumpy().copy() for p in network.get_parameters()}
    for h, w in [(32, 32), (100, 44), (224, 224)]:
        assert network(Tensor(np.ones((1, 3, h, w), np.float32))).shape == (1, 10)
    assert all(np.array_equal(before[p.name], p.asnumpy()) for p in network.get_parameters())


@pytest.mark.parametrize(
    "size, words",
    [
        ((30, 32), ["stem", "30 x 32", "multiples of 4", "at least 32"]),
        ((2, 32), ["stem", "2 x 32"]),
        ((28, 64), ["28 x 64", "stage 4", "1 x 4", "at least 32"]),
        ((16, 8), ["16 x 8", "stage 3", "2 x 1"]),
    ],
)
def test_a_size_that_does_not_fit_is_refused_by_stage(size, words, capfd):
    network = create_model("neonext_pico", 10, seed=0)
    with pytest.raises(UserError) as error:
        network(Tensor(np.ones((1, 3, *size), np.float32)))
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
    assert capfd.readouterr().err == "", "MindSpore has not begun to compile"


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((2, 1, 32, 32), np.float32, ["(N, 3, H, W)", "got 1 channels"]),
        ((3, 32, 32), np.float32, ["(N, 3, H, W)", "images[None]", "3 dimensions"]),
        ((2, 32, 32, 3), np.float32, ["(N, 3, H, W)", "got 32 channels", "transpose(0, 3, 1, 2)"]),
        ((), np.float32, ["(N, 3, H, W)", "0 dimensions"]),
        ((2, 3, 32, 32), np.uint8, ["float32 or float16", "got UInt8", "astype"]),
        ((2, 3, 32, 32), np.float64, ["float32 or float16", "got Float64", "astype"]),
    ],
)
def test_an_input_that_is_no_batch_of_images_is_refused(shape, dtype, words, capfd):
    network = create_model("neonext_pico", 10, seed=0)
    with pytest.raises(UserError) as error:
        network(Tensor(np.ones(shape, dtype)))
    message = str(error.value)
    assert "\n" not in message and all(word in message for word in words), message
    assert capfd.readouterr().err == "", "MindSpore has not begun to compile"
    with pytest.raises(UserError, match=r"a mindspore.Tensor, got a ndarray: use Tensor\(x\)"):
        network(np.ones(shape, dtype))


def test_features_and_headless_models():
    x = Tensor(np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32))
    network = create_model("neonext_pico", 0, seed=0).set_train(False)
    features = network.forward_features(x)
    assert features.shape == (2, 256, 2, 2)
    np.testing.assert_allclose(network(x).asnumpy(), network.forward_head(features).asnumpy(), rtol=1e-5, atol=1e-5)
    backbone = create_model("neonext_pico", features_only=True, seed=0).set_train(False)
    outputs = backbone(x)
    for info, output in zip(backbone.feature_info, outputs, strict=True):
        assert output.shape == (2, info["num_chs"], 64 // info["reduction"], 64 // info["reduction"])
    np.testing.assert_allclose(outputs[-1].asnumpy(), features.asnumpy(), rtol=1e-5, atol=1e-5)


def test_same_seed_same_weights():
    first, second, other = (create_model("neonext_pico", 10, seed=s).parameters_dict() for s in (1, 1, 2))
    assert all(np.array_equal(first[n].asnumpy(), second[n].asnumpy()) for n in first)
    assert not np.array_equal(first["head.fc.weight"].asnumpy(), other["head.fc.weight"].asnumpy())


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("neonext_q",), ["neonext_q", "neonext_t"]),
        (("neonext_pico", 10, 0, {"shift": 1}), ["shift", "shifts"]),
        (("neonext_pico", -1), ["num_classes", "-1"]),
        (("neonext_pico", 10, 0, {"shifts": (1, 1)}), ["shifts", "(1, 1)"]),
        (("neonext_pico", 10, 0, {"drop_path_rate": 1.0}), ["drop_path_rate", "1.0"]),
    ],
)
def test_mistakes_are_named_in_one_line(arguments, words):
    *positional, overrides = arguments if isinstance(arguments[-1], dict) else (*arguments, {})
    with pytest.raises(UserError) as error:
        create_model(*positional, **overrides)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_registry_has_both_variants_of_every_size_and_four_with_a_gate():
    sizes, gated = ("t", "s", "b", "l", "xl"), ("t", "s", "b", "pico")
    names = {f"neonext_{s}{v}" for s in sizes for v in ("", "_v2")} | {f"neonext_{s}_v3" for s in gated}
    assert set(list_models()) == names | {"neonext_pico"}


def test_a_dropped_branch_leaves_its_image_as_it_was():
    network = create_model("neonext_pico", 10, seed=0).set_train(False)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 32, 32)).astype(np.float32)
    keep = np.array([[1, 0]] * 5, np.float32)
    dropped = network(Tensor(x), Tensor(keep)).asnumpy()
    whole = network(Tensor(x)).asnumpy()
    np.testing.assert_allclose(dropped[0], whole[0], rtol=1e-5, atol=1e-5)
    for cell in network.cells_and_names():
        if cell[0].endswith("fc2"):
            cell[1].weight.set_data(Tensor(np.zeros(cell[1].weight.shape, np.float32)))
    np.testing.assert_allclose(dropped[1], network(Tensor(x)).asnumpy()[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("call", ["network", "forward_features"])
def test_a_rate_without_masks_is_told_once(call, mode, caplog):
    rate = {"graph": 0.125, "pynative": 0.25}[mode] + (call == "network") / 16  # told once for each
    network = create_model("neonext_pico", 10, seed=0, drop_path_rate=rate, **TINY)
    x, masks = Tensor(np.ones((2, 3, 32, 32), np.float32)), Tensor(np.ones((2, 2), np.float32))
    run = network if call == "network" else network.forward_features
    run(x)
    network.set_train(True)
    run(x, masks)
    assert not caplog.records, "neither in evaluation nor with masks"
    run(x)
    run(x)
    (record,) = caplog.records
    assert f"drop_path_rate={rate:g} drops nothing" in record.message and "drop_path_masks" in record.message
    create_model("neonext_pico", 10, seed=0, **TINY).set_train(True)(x)
    assert len(caplog.records) == 1, "nothing to tell of a rate of 0"


def test_half_precision_network_runs_in_float16(mode):
    x = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    expected = create_model("neonext_pico", 10, seed=0)(Tensor(x)).asnumpy()
    logits, naive = (
        create_model("neonext_pico", 10, seed=0, backend=backend).to_float(ms.float16)(Tensor(x)).asnumpy()
        for backend in ("auto", "dense")
    )
    assert logits.dtype == np.float16
    assert_as_near(logits, naive, expected.astype(np.float64))


def test_mindspores_mixed_precision_evaluates_as_float32_does(mode):
    x = Tensor(np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32))
    network = create_model("neonext_pico", 10, seed=0).set_train(False)
    expected = network(x).asnumpy()
    mixed = ms.amp.auto_mixed_precision(network, "O2").set_train(False)
    np.testing.assert_allclose(mixed(x).asnumpy(), expected, rtol=0, atol=2e-2 * np.abs(expected).max())


def test_every_neocell_begins_as_init_says():
    networks = {init: create_model("neonext_pico", 10, init=init, seed=0, **TINY) for init in ("neo", "normal")}
    neo, normal = (
        {p.name: p.asnumpy() for p in network.get_parameters() if "neocell" in p.name} for network in networks.values()
    )
    assert any("downsamples" in name for name in neo)
    for name, value in neo.items():
        near_identity = averaging_identity(*value.shape[1:])
        assert np.abs(value - near_identity).mean() < np.abs(normal[name] - near_identity).mean(), name
