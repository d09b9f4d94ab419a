"""Blocks of other forms than the paper's: against float64, as parts of a network, and where they are refused."""

import contextlib
import math
import re
from functools import partial

import numpy as np
import pytest
from mindspore import Tensor

from neonext_ms import create_model
from neonext_ms.analysis.learned import blocks_of
from neonext_ms.analysis.profile import Cost, layer_costs
from neonext_ms.checkpoint.store import save_weights
from neonext_ms.data import Preprocess
from neonext_ms.deploy import Classifier, export_model
from neonext_ms.deploy.convert.convert import convert
from neonext_ms.deploy.fold.graph import fold
from neonext_ms.errors import UserError
from neonext_ms.models.layers import Block
from neonext_ms.models.mixers import DepthwiseConv, WindowedProduct
from neonext_ms.models.pointwise import GRN
from neonext_ms.models.resample import resample_network
from neonext_ms.ops import parse_spec, reference
from neonext_ms.training.optim.optimizer import weight_decay_mask
from tests.support.gradients import ForwardAndGradients, assert_as_near
from tests.support.tiny import TINY

Z = [0, 0]
FORMS = {
    "rank": {"rank": 2},
    "groups": {"group_width": 4},
    "depthwise": {"mixer": "depthwise", "kernels": ["5", "7"], "shifts": Z},
    "wbmm": {"mixer": "wbmm", "kernels": ["8", "2"], "shifts": Z},
    "gate": {"gate": True},
    "grn": {"grn": True},
    "all": {"rank": 2, "gate": True, "grn": True, "linear_bias": True, "layer_scale": 0.5},
}


def taps(plane, kernel=None, window=None):
    """Pairs of pixels of a plane, output first, and for each the place in a channel's weights of what joins them."""
    h, w = plane
    half = kernel // 2 if kernel else window - 1
    for i, j, k, m in np.ndindex(h, w, h, w):
        if kernel and max(abs(k - i), abs(m - j)) <= half:
            yield i, j, k, m, k - i + half, m - j + half
        if window and (i // window, j // window) == (k // window, m // window):
            yield i, j, k, m, i - k + half, j - m + half


def by_taps(x, weight, dy, pairs, dtype):
    """y, dx and the gradient of the weight, one pair of pixels at a time."""
    x, weight, dy = (value.astype(dtype) for value in (x, weight, dy))
    y, dx, gradient = np.zeros_like(x), np.zeros_like(x), np.zeros_like(weight)
    for i, j, k, m, a, b in pairs:
        y[:, :, i, j] += weight[:, a, b] * x[:, :, k, m]
        dx[:, :, k, m] += weight[:, a, b] * dy[:, :, i, j]
        gradient[:, a, b] += (x[:, :, k, m] * dy[:, :, i, j]).sum(0)
    return y, dx, gradient


@pytest.mark.parametrize(
    "make, size, plane",
    [
        (DepthwiseConv, {"kernel": 7}, (8, 8)),
        (DepthwiseConv, {"kernel": 3}, (5, 9)),
        (DepthwiseConv, {"kernel": 7}, (2, 1)),
        (DepthwiseConv, {"kernel": 1}, (3, 4)),
        (WindowedProduct, {"window": 4}, (8, 4)),
        (WindowedProduct, {"window": 3}, (3, 6)),
        (WindowedProduct, {"window": 1}, (2, 3)),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_mixers_equal_float64(make, size, plane, dtype, mode):
    rng = np.random.default_rng(plane)
    cell = make(3, **size, init="normal", rng=rng)
    x, dy = (rng.standard_normal((2, 3, *plane)).astype(dtype) for _ in range(2))
    weight, pairs = cell.weight.asnumpy(), list(taps(plane, **size))
    naive, exact = (by_taps(x, weight, dy, pairs, precision) for precision in (dtype, np.float64))
    sizes = by_taps(*map(np.abs, (x, weight, dy)), pairs, np.float64)
    y, dx, (gradient,) = ForwardAndGradients(cell)(Tensor(x), Tensor(dy))
    assert y.asnumpy().dtype == dtype
    for value, *measure in zip((y, dx, gradient), naive, exact, sizes, strict=True):
        assert_as_near(value.asnumpy(), *measure)


@pytest.mark.parametrize("make", [partial(DepthwiseConv, 400, 7), partial(WindowedProduct, 400, 4)])
def test_how_mixers_begin(make):
    rng = np.random.default_rng
    identity, neo, noise = (make(init=init, rng=rng(0)).weight.asnumpy() for init in ("identity", "neo", "normal"))
    x = Tensor(rng(1).standard_normal((1, 400, 4, 4)).astype(np.float32))
    np.testing.assert_array_equal(make(init="identity", rng=rng(0))(x).asnumpy(), x.asnumpy())
    np.testing.assert_allclose(neo, identity + noise, rtol=0, atol=1e-6)
    bound = 1 / make.args[1]
    assert bound * 0.99 < np.abs(noise).max() <= bound * 1.001 and abs(noise.mean()) < 0.02 * bound


def test_windows_that_do_not_divide_a_plane_are_refused():
    cell = WindowedProduct(2, 4, "neo", np.random.default_rng(0))
    with pytest.raises(UserError, match="windows of 4 x 4 do not divide a plane of 8 x 6"):
        cell(Tensor(np.zeros((1, 2, 8, 6), np.float32)))


def grn(x, gamma, beta):
    norms = np.sqrt((x * x).sum((2, 3), keepdims=True))
    response = norms / (norms.mean(1, keepdims=True) + 1e-6)
    return x + gamma.reshape(1, -1, 1, 1) * x * response + beta.reshape(1, -1, 1, 1)


def check_slopes(cell, function, x):
    """Forward of a cell against a float64 function of x and its parameters, and each gradient against its slope."""
    rng = np.random.default_rng(0)
    for parameter in cell.trainable_params():
        parameter.set_data(Tensor(rng.standard_normal(parameter.shape).astype(np.float32) / 2))
    parameters = cell.trainable_params()
    values = [x.astype(np.float64), *(p.asnumpy().astype(np.float64) for p in parameters)]
    dy = rng.standard_normal(function(*values).shape).astype(np.float32)
    y, dx, gradients = ForwardAndGradients(cell)(Tensor(x), Tensor(dy))
    expected = function(*values)
    assert np.abs(y.asnumpy() - expected).max() <= 1e-5 * np.abs(expected).max()
    for i, gradient in enumerate((dx, *gradients)):
        direction = rng.standard_normal(values[i].shape)
        moved = [[*values[:i], values[i] + step * direction, *values[i + 1 :]] for step in (1e-5, -1e-5)]
        above, below = ((function(*point) * dy).sum() for point in moved)
        size = np.abs(gradient.asnumpy() * direction).sum()
        assert abs((above - below) / 2e-5 - (gradient.asnumpy() * direction).sum()) <= 1e-5 * size, i


def test_grn_equals_float64_and_begins_as_nothing():
    x = np.random.default_rng(1).standard_normal((2, 5, 3, 4)).astype(np.float32)
    np.testing.assert_array_equal(GRN(5)(Tensor(x)).asnumpy(), x)
    check_slopes(GRN(5), grn, x)
    x[:, 1] = 0  # as behind GELU
    _, dx, gradients = ForwardAndGradients(GRN(5))(Tensor(x), Tensor(x))
    assert all(np.isfinite(gradient.asnumpy()).all() for gradient in (dx, *gradients))


@pytest.mark.parametrize("with_grn", [False, True])
def test_a_gated_mlp_equals_float64(with_grn):
    groups = parse_spec("3", 8, 1)
    form = create_model("neonext_pico", gate=True, grn=with_grn, **TINY).spec.form
    mlp = Block(groups, np.random.default_rng(0), linear_bias=True, form=form).mlp
    names = [p.name for p in mlp.trainable_params()]
    gelu = np.vectorize(lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2)

    def function(x, *values):
        named = dict(zip((name.removeprefix("mlp.") for name in names), values, strict=True))
        hidden = np.einsum("oc,nchw->nohw", named["fc1.weight"], x) + named["fc1.bias"].reshape(1, -1, 1, 1)
        mixed = reference.neocell(hidden[:, 8:], [named["neocell.left.0"]], [named["neocell.right.0"]], groups)
        product = gelu(hidden[:, :8]) * mixed
        if with_grn:
            product = grn(product, named["grn.gamma"], named["grn.beta"])
        return np.einsum("oc,nchw->nohw", named["fc2.weight"], product) + named["fc2.bias"].reshape(1, -1, 1, 1)

    assert {p.name: p.shape for p in mlp.trainable_params()}["fc1.weight"] == (16, 4)
    check_slopes(mlp, function, np.random.default_rng(1).standard_normal((2, 4, 5, 7)).astype(np.float32))


@pytest.mark.parametrize("form", FORMS)
def test_a_network_of_each_form(form):
    """Its count is the profile's, every parameter learns and has its group of weight decay, and it is repeatable."""
    network = create_model("neonext_pico", 5, seed=0, **{**TINY, **FORMS[form]}).set_train(True)
    parameters = network.trainable_params()
    cost = sum(layer_costs(network.spec, 32, 32, 5).values(), Cost())
    assert cost.parameters == sum(p.size for p in parameters)
    assert len(weight_decay_mask(parameters)) == len({p.name for p in parameters})
    x = Tensor(np.random.default_rng(0).standard_normal((4, 3, 32, 32)).astype(np.float32))
    dy = Tensor(np.random.default_rng(1).standard_normal((4, 5)).astype(np.float32))
    y, _, gradients = ForwardAndGradients(network)(x, dy)
    assert np.isfinite(y.asnumpy()).all()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        found = re.search(r"stages\.(\d)\.0\.neocell\.right\.(\d)", parameter.name)
        behind_zeros = found and int(found[2]) >= len(network.spec.stage_groups(int(found[1])))
        assert np.abs(gradient.asnumpy()).max() > 0 or behind_zeros, parameter.name
    again = create_model("neonext_pico", 5, seed=0, **{**TINY, **FORMS[form]})
    for own, other in zip(parameters, again.trainable_params(), strict=True):
        np.testing.assert_array_equal(own.asnumpy(), other.asnumpy())


def test_what_they_cost_by_hand():
    """Of the first stage alone: 8 channels, 8 x 8 pixels, blocks of 4 + 7 as of 11 / 2."""

    def block(**form):
        spec = create_model("neonext_pico", 5, **{**TINY, **form}).spec
        return layer_costs(spec, 32, 32, 5)["stages.0.0"].macs_patchwise

    mlp = 8 * 8 * 8 * 64
    assert block() == mlp + 8 * 11 * 64 and block(rank=3) == mlp + 3 * 8 * 11 * 64
    assert block(**FORMS["depthwise"]) == mlp + 25 * 8 * 64 and block(**FORMS["wbmm"]) == mlp + 64 * 8 * 64
    assert block(gate=True) == 6 * 8 * 8 * 64 + 16 * 11 * 64 and block(grn=True) == block()


@pytest.mark.parametrize("form", [form for form in FORMS if form != "gate"])
def test_what_knows_the_papers_block_and_the_gate_refuses_the_others(form):
    network = create_model("neonext_pico", 5, **{**TINY, **FORMS[form]}).set_train(False)
    for refused in (partial(fold, image_size=32), partial(resample_network, kernels=["14"]), blocks_of):
        with pytest.raises(UserError, match=r"^there is no [a-z ]+ for networks with [a-z_]+=\w+.*: only for blocks"):
            refused(network)


def test_of_several_parts_those_are_named_that_are_refused():
    spec = create_model("neonext_pico", 5, **{**TINY, **FORMS["all"]}).spec
    words = "there is no use for networks with rank=2, grn=True: only for blocks of the paper's form, also with gate"
    with pytest.raises(UserError, match=f"^{words}$"):
        spec.refuse_other_forms("use", taken=["gate"])
    spec.refuse_other_forms("use", taken=["gate", "rank", "grn"])
    with pytest.raises(UserError, match="rank=2, gate=True, grn=True: only for blocks of the paper's form$"):
        spec.refuse_other_forms("use")


def save(path, overrides, name="neonext_pico"):
    """A checkpoint of a fresh network for the digits."""
    card = {"model": {"name": name, "num_classes": 10, "overrides": overrides}}
    card |= {"class_names": [str(i) for i in range(10)], "dataset": {"name": "digits", "data_dir": None}}
    card |= {"preprocess": Preprocess(32, (0.5,) * 3, (0.5,) * 3).to_dict(), "epoch": 1, "step": 1, "metrics": {}}
    save_weights(path, create_model(name, 10, seed=0, **overrides), card)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["all", "depthwise"])
def test_export_as_it_was_trained(form, tmp_path):
    overrides = {**TINY, **FORMS[form]}
    save(tmp_path / "x.ckpt", overrides)
    with pytest.raises(UserError, match="there is no folding for networks with"):
        export_model(tmp_path / "x.ckpt", tmp_path / "y.mindir")
    with pytest.raises(UserError, match="there is no conversion for networks with"):
        convert(tmp_path / "x.ckpt", tmp_path / "y.pt")
    assert not list(tmp_path.glob("y*"))
    export_model(tmp_path / "x.ckpt", tmp_path / "two.mindir", batch_size=2, folded=False)
    # Whose products MindSpore 2.10 gives fewer images than there are where their number is left open.
    refused = pytest.raises(UserError, match="the exported file gives outputs of shape")
    with refused if "mixer" in overrides else contextlib.nullcontext():
        export_model(tmp_path / "x.ckpt", tmp_path / "any.mindir", batch_size=None, folded=False)
    assert (tmp_path / "any.mindir").exists() == ("mixer" not in overrides)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, options", [("y.mindir", {}), ("y.onnx", {"opset": 17}), ("y.mindir", {"folded": False})]
)
def test_a_gated_network_is_exported(name, options, tmp_path):
    """Folded, and as it was trained; its checkpoint is classified with on the compiled operators."""
    save(tmp_path / "x.ckpt", {**TINY, "layer_scale": 0.5, "linear_bias": True}, "neonext_pico_v3")
    card = export_model(tmp_path / "x.ckpt", tmp_path / name, batch_size=None, **options)
    assert card["graph"]["folded"] == options.get("folded", True) and card["model"]["name"] == "neonext_pico_v3"
    images = [np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8) for i in range(2)]
    found, expected = (Classifier.open(tmp_path / file).predict(images, top_k=10) for file in (name, "x.ckpt"))
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours) == 10
        assert {one.index: one.probability for one in ours} == pytest.approx(
            {one.index: one.probability for one in theirs}, abs=1e-5
        )


@pytest.mark.parametrize(
    "overrides, words",
    [
        ({"mixer": "conv"}, "unknown mixer 'conv': use one of neocell, depthwise, wbmm"),
        ({"rank": 0}, "rank must be an integer of at least 1, got 0"),
        ({"mixer": "wbmm", "rank": 2}, "rank and group_width are of mixer=neocell"),
        ({"mixer": "wbmm", "kernels": ["8", "2"]}, r"mixer=wbmm has no shifts, got \(1, 0\): give shifts \(0, 0\)"),
        ({"mixer": "wbmm", "shifts": Z}, r"takes one number a stage in kernels, got \('4\+7', '7'\)"),
        ({"mixer": "depthwise", "kernels": ["6", "7"], "shifts": Z}, "takes an odd number a stage"),
        ({"group_width": 3}, r"the width \(=3\) of a NeoCell must divide"),
    ],
)
def test_mistakes_are_named(overrides, words):
    with pytest.raises(UserError, match=words):
        create_model("neonext_pico", 5, **{**TINY, **overrides})


def test_the_papers_network_is_as_it_was():
    names = {p.name for p in create_model("neonext_pico", 5, **TINY).get_parameters()}
    assert names == {p.name for p in create_model("neonext_pico", 5, rank=1, gate=False, **TINY).get_parameters()}
    assert "stages.0.0.neocell.left.1" in names
