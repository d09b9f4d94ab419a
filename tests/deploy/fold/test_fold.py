"""Folded networks compute what the networks do, for every member of the family."""

import re

import mindspore as ms
import numpy as np
import pytest

from neonext_ms import create_model, list_models
from neonext_ms.benchmark.fold_difference import fold_differences, relative_difference, trained_like
from neonext_ms.deploy.fold.compiled import CompiledNeoNeXt
from neonext_ms.deploy.fold.graph import FoldedNeoNeXt, _Head, fold
from neonext_ms.deploy.fold.weights import fold_weights
from neonext_ms.errors import UserError


@pytest.fixture
def eager():
    """Nothing is compiled: a graph of each network would take longer than to run it once."""
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=mode)


# neonext_s is neonext_t with more blocks: at one block a stage they are the same. With a gate b has other widths alone.
LEFT_OUT = ("neonext_s", "neonext_s_v2", "neonext_s_v3", "neonext_b_v3")


@pytest.mark.parametrize("name", [name for name in list_models() if name not in LEFT_OUT])
def test_every_member_of_the_family_at_224_and_384(name, eager):
    """Real widths, blocks and shifts, one block a stage; neonext benchmark fold does all."""
    shifts = {"shifts": (1, 1, 1, 1)} if name == "neonext_t_v2" else {}  # as it is used at 384
    assert max(fold_differences(name, (224, 384), num_classes=10, depths=(1, 1, 1, 1), **shifts)) <= 1e-5


def test_a_gated_network_at_its_full_depth(eager):
    """Where statistics that are not its own make it overflow."""
    assert max(fold_differences("neonext_t_v3", (64,), num_classes=10)) <= 1e-5


ODD = {"depths": (2, 1, 1), "dims": (9, 14, 20), "kernels": ("4+7", "7", "2"), "shifts": (1, 2, 0)}
ODD |= {"linear_bias": True, "layer_scale": 0.5}


@pytest.fixture(scope="module", params=[False, True], ids=["paper", "gate"])
def structure(request):
    return {**ODD, "gate": request.param}


@pytest.fixture(scope="module")
def odd(structure):
    """A network whose planes (9, 4, 2) no block divides, with everything that can be folded."""
    return trained_like(create_model("neonext_pico", 7, seed=1, **structure), seed=3)


@pytest.fixture(scope="module")
def odd_images():
    return ms.Tensor(np.random.default_rng(4).standard_normal((3, 3, 36, 36)).astype(np.float32))


def test_planes_that_blocks_do_not_divide_and_biases(odd, odd_images, eager):
    expected = odd(odd_images).asnumpy()
    assert relative_difference(fold(odd, 36, backend="dense")(odd_images).asnumpy(), expected) <= 2e-6


@pytest.mark.parametrize("scale", [1, 1000])
def test_the_head_stands_float16_throughout_also_for_large_features(odd, scale, eager):
    """As a converter makes it that takes float16 wherever it can: the square of 300 is none."""
    weights = fold_weights(odd)
    features = scale * np.random.default_rng(5).standard_normal((20, 2, 3, 2))  # (C, H, N, W)
    head = _Head(weights, (2, 2), ms.float16, norm_dtype=ms.float16)
    logits = head(ms.Tensor(features.reshape(20, -1).astype(np.float16))).asnumpy()
    means = features.mean((1, 3))
    normed = (means - means.mean(0)) / np.sqrt(means.var(0) + weights.head_epsilon)
    expected = normed.T @ weights.head + weights.head_bias
    assert np.isfinite(logits).all()
    assert np.abs(logits - expected).max() <= 1e-2 * np.abs(expected).max()


def test_compiled_operators_compute_the_same(odd, odd_images):
    """In graph mode, as they are used."""
    ms.set_context(mode=ms.GRAPH_MODE)
    folded = fold(odd, 36, backend="fused")
    assert isinstance(folded, CompiledNeoNeXt) and isinstance(fold(odd, 36), CompiledNeoNeXt)
    assert isinstance(fold(odd, 36, gelu="tanh"), FoldedNeoNeXt)
    assert relative_difference(folded(odd_images).asnumpy(), odd(odd_images).asnumpy()) <= 2e-6


@pytest.fixture(scope="module")
def faint(odd, structure):
    """The same network with variances near BatchNorm's eps (1e-5), and features with one near the head's (1e-6)."""
    network = create_model("neonext_pico", 7, seed=1, **structure)
    before_norm = r"stem.proj.weight|downsamples.\d.proj.weight|stages.*neocell.(left.\d|bias)|.*moving_mean"
    if structure["gate"]:  # what a block normalises is what comes into it
        before_norm = r"stem.proj.weight|(stem|downsamples.0).norm.(gamma|beta)|.*layer_scale|.*moving_mean"
    factors = {r"downsamples.1.norm.(gamma|beta)|stages.2.*layer_scale": 1e-3}
    factors |= {before_norm: 1e-2, ".*moving_variance": 1e-4}
    for parameter, other in zip(network.get_parameters(), odd.get_parameters()):
        factor = next((value for names, value in factors.items() if re.fullmatch(names, parameter.name)), 1)
        parameter.set_data(ms.Tensor(other.asnumpy() * np.float32(factor)))
    return network.set_train(False)


@pytest.mark.parametrize("backend", ["dense", "fused"])
def test_both_epsilons_are_in_the_fold(faint, odd_images, eager, backend):
    folded = fold(faint, 36, backend=backend)
    assert relative_difference(folded(odd_images).asnumpy(), faint(odd_images).asnumpy()) <= 1e-5


def test_folding_leaves_the_network_as_it_was(odd):
    before = {p.name: p.asnumpy().copy() for p in odd.get_parameters()}
    fold(odd, 36)
    assert all((p.asnumpy() == before[p.name]).all() for p in odd.get_parameters())


@pytest.mark.parametrize("backend", ["auto", "dense"])
def test_mindspore_warns_of_nothing(odd, odd_images, eager, backend, monkeypatch):
    """As it does of interfaces that it is going to remove, at a level that the command line leaves out."""
    said = []
    monkeypatch.setattr(ms.log, "warning", lambda *what, **_: said.append(what))
    fold(odd, 36, backend=backend)(odd_images)
    assert said == []


def test_half_precision_and_the_tanh_form_are_what_they_say(odd, odd_images, eager):
    """Near the network, but not nearer than they can be; half precision also in the weights."""
    expected = odd(odd_images).asnumpy()
    half = fold(odd, 36, dtype=ms.float16)
    assert {p.dtype for p in half.get_parameters()} == {ms.float16}
    assert 1e-5 < relative_difference(half(odd_images).asnumpy(), expected) < 5e-3
    assert 1e-5 < relative_difference(fold(odd, 36, gelu="tanh")(odd_images).asnumpy(), expected) < 5e-3


def test_what_cannot_be_folded_is_refused(odd):
    with pytest.raises(UserError, match="image of 30 x 30 pixels"):
        fold(odd, 30)
    with pytest.raises(UserError, match="unknown GELU 'erf': use one of exact, tanh"):
        fold(odd, 36, gelu="erf")
    small = {"depths": (1,), "dims": (8,), "kernels": ("4",), "shifts": (0,)}
    for options in ({"features_only": True}, {"num_classes": 0}):
        with pytest.raises(UserError, match="only a network with a classifier can be folded"):
            fold(create_model("neonext_pico", **options, **small), 32)
