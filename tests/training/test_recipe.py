"""EMA, loss scaling, layer-wise decay and mixed precision against NumPy re-computations."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor

from neonext_ms import create_model
from neonext_ms.errors import UserError
from neonext_ms.models.layers import BatchNorm
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.apply_gradients import Clip, Update
from neonext_ms.training.assemble import check_device, make_steps
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.optim.adamw import AdamW
from neonext_ms.training.optim.ema import EMA
from neonext_ms.training.optim.layer_decay import layer_lr_scales
from neonext_ms.training.optim.loss_scale import LossScale
from neonext_ms.training.optim.sgd import SGD
from neonext_ms.training.step import Gradient, StepMetrics, TrainStep
from tests.support.tiny import TINY

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((8, 3, 32, 32)).astype(np.float32)
TARGETS = RNG.dirichlet(np.ones(4), 8).astype(np.float32)
ONE = Ranks(0, 1, "CPU")


@pytest.fixture(autouse=True)
def _graph_mode():
    ms.set_context(mode=ms.GRAPH_MODE)


def small_network(**overrides):
    return create_model("neonext_pico", 4, seed=1, **{**TINY, **overrides})


def vectors(optimizer, gradients):
    """Gradients by name as the optimizer takes them."""
    return tuple(Tensor(np.concatenate([gradients[p.name].ravel() for p in g.parameters])) for g in optimizer.groups)


def values_of(parameters):
    return {p.name: p.asnumpy().copy() for p in parameters}


@pytest.mark.parametrize("updates", [1, 10])
def test_ema(updates):
    """d = min(decay, (1 + t) / (10 + t)) after t updates; Skipped updates count for nothing."""
    network = small_network()
    ema = EMA(network, SGD(network.trainable_params(), 0.0), 0.3)
    own = set(ema.state()) - {"ema_updates"}
    assert own == {f"ema.{p.name}" for p in network.get_parameters()}
    expected = {name: value.astype(np.float64) for name, value in values_of(network.get_parameters()).items()}
    rng, t = np.random.default_rng(1), 0
    for i in range(updates):
        for p in network.get_parameters():
            p.set_data(Tensor(rng.standard_normal(p.shape).astype(np.float32)))
        finite = i != 2
        *groups, statistics = ema.flats
        weights = tuple(tuple(Tensor(p.asnumpy()) for p in group.parameters) for group in groups)
        ema(weights, statistics.read(), Tensor(finite))
        if finite:
            d, t = min(0.3, (1 + t) / (10 + t)), t + 1
            for p in network.get_parameters():
                expected[p.name] = d * expected[p.name] + (1 - d) * p.asnumpy()
    raw = values_of(network.get_parameters())
    with ema.in_place():
        for name, value in values_of(network.get_parameters()).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert all(np.array_equal(value, raw[name]) for name, value in values_of(network.get_parameters()).items())


def test_loss_scale():
    """Doubled after three good updates, halved by a bad one, at least 1, at most 2^24."""
    cell, scale, good = LossScale(4.0, 3), 4.0, 0
    for finite in [True] * 7 + [False] * 7 + [True] * 2 + [False] + [True] * 3:
        cell(Tensor(finite))
        good = good + 1 if finite else 0
        scale = scale if finite else max(scale / 2, 1.0)
        if good == 3:
            scale, good = scale * 2, 0
        assert (float(cell.scale.asnumpy()), float(cell.good_updates.asnumpy())) == (scale, good)
    assert scale == 2.0, "it has been at its least and came back"
    most = LossScale(2.0**24, 1)
    most(Tensor(True))
    assert float(most.scale.asnumpy()) == 2.0**24
    fixed = LossScale(8.0, 0)
    fixed(Tensor(False))
    assert float(fixed.scale.asnumpy()) == 8.0 and fixed.state() == {}


def test_layers_of_a_network():
    """A layer a block, as timm counts them: stem 0, blocks 1..4, head 5; a down-sampling goes with the next block."""
    network = create_model("neonext_pico", 4, seed=0, depths=(1, 3), dims=(8, 16), kernels=("7", "7"), shifts=(1, 0))
    parameters = network.trainable_params()
    scales = dict(zip((p.name for p in parameters), layer_lr_scales(parameters, (1, 3), 0.5)))
    layers = {"stem.": 0, "stages.0.0.": 1, "downsamples.0.": 2, "stages.1.0.": 2, "stages.1.1.": 3, "stages.1.2.": 4}
    layers["head."] = 5
    for name, scale in scales.items():
        (layer,) = (layer for prefix, layer in layers.items() if name.startswith(prefix))
        assert scale == 0.5 ** (5 - layer), name
    assert len(scales) == len(parameters) and scales["head.fc.weight"] == 1.0


@pytest.mark.parametrize("steps", [1, 10])
@pytest.mark.parametrize("make", [AdamW, SGD])
def test_learning_rates_of_parameters(make, steps):
    """Rates of their own, weight decay with them, for matrices only."""
    rng = np.random.default_rng(0)
    values = {"a.weight": rng.standard_normal((3, 4)), "a.bias": rng.standard_normal(3), "b.left.0": np.ones((2, 3, 3))}
    scales, lr = (0.25, 0.5, 1.0), 0.1
    parameters = [Parameter(Tensor(v.astype(np.float32)), name=n) for n, v in values.items()]
    optimizer = make(parameters, 0.05, lr_scales=scales)
    gradients = [[rng.standard_normal(v.shape).astype(np.float32) for v in values.values()] for _ in range(steps)]
    for gradient in gradients:
        numbers = Tensor(np.float32(lr)), Tensor(True), Tensor(np.float32(1))
        optimizer(vectors(optimizer, dict(zip(values, gradient))), *numbers)
    for i, (name, w) in enumerate(values.items()):
        decay, rate = (0.0 if name == "a.bias" else 0.05), lr * scales[i]
        m = v = 0.0
        for t, g in enumerate((gradient[i] for gradient in gradients), 1):
            if make is SGD:
                m = 0.9 * m + g + decay * w
                w = w - rate * m
            else:
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
                w = w * (1 - rate * decay)
                w = w - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(parameters[i].asnumpy(), w, rtol=2e-5, atol=2e-6, err_msg=name)


def test_loss_scale_and_ema_in_the_step():
    """With a power of two the scaled step in float32 is the unscaled one; averages follow the weights."""
    results = []
    for scaled in (False, True):
        network = small_network()
        train_step, _ = make_steps(TrainConfig(batch_size=8, ema_decay=0.9, clip_grad=0.5), network, ONE)
        if scaled:
            scale = LossScale(1024.0, 2)
            optimizer = AdamW(network.trainable_params(), 0.05)
            update = Update(network, optimizer, ONE, Clip(0.5, scale), EMA(network, optimizer, 0.9))
            train_step = TrainStep(Gradient(network, optimizer, loss_scale=scale), update)
        expected, used = values_of(network.get_parameters()), []
        for t in range(3):
            metrics = StepMetrics.read(train_step(IMAGES, TARGETS, None, 1e-2))
            used.append(metrics.loss_scale)
            d = min(0.9, (1 + t) / (10 + t))
            for name, value in values_of(network.get_parameters()).items():
                expected[name] = d * expected[name] + (1 - d) * value
        assert used == ([1024.0, 1024.0, 2048.0] if scaled else [1.0] * 3)
        state = train_step.state()
        assert {"ema_updates", "ema.stem.norm.moving_mean"} <= set(state)
        assert ({"loss_scale", "good_updates"} <= set(state)) == scaled
        for name, value in expected.items():
            np.testing.assert_allclose(state[f"ema.{name}"], value, rtol=1e-4, atol=1e-6, err_msg=name)
        results.append((metrics.gradient_norm, values_of(network.get_parameters())))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-5)
    for name, value in results[0][1].items():
        np.testing.assert_allclose(results[1][1][name], value, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("level", ["O2", "O3"])
def test_float16_trains_and_an_overflow_lowers_the_scale(level):
    config = TrainConfig(batch_size=8, amp_level=level, loss_scale=2.0**22, loss_scale_window=3)
    network = small_network()
    train_step, eval_step = make_steps(config, network, ONE)
    norms = [cell for _, cell in network.cells_and_names() if isinstance(cell, BatchNorm)]
    assert len(norms) == 4 and all(norm.in_float32 == (level == "O2") for norm in norms)
    reference = small_network()
    reference_step, _ = make_steps(TrainConfig(batch_size=8), reference, ONE)
    expected = StepMetrics.read(reference_step(IMAGES, TARGETS, None, 1e-3))
    before, updates = values_of(network.get_parameters()), []
    for _ in range(12):
        updates.append(StepMetrics.read(train_step(IMAGES, TARGETS, None, 1e-3)))
        if not updates[-1].finite:
            after = values_of(network.get_parameters())
            assert all(np.array_equal(before[name], after[name]) for name in before)
        before = values_of(network.get_parameters())
    good = [update for update in updates if update.finite]
    assert updates[0].finite == 0, "4 million times a gradient of this network is more than float16 holds"
    assert updates[1].loss_scale == 2.0**21 and len(good) >= 4
    assert updates[0].loss == pytest.approx(expected.loss, rel=5e-3)
    assert good[0].gradient_norm == pytest.approx(expected.gradient_norm, rel=2e-2)
    assert updates[0].loss != expected.loss, "it was computed in float16"
    assert good[-1].loss < good[0].loss
    assert all(p.dtype == ms.float32 for p in network.get_parameters())
    assert np.isfinite(eval_step(IMAGES)).all()


def test_what_a_cpu_cannot_do_is_refused():
    for wrong, words in (({"amp_level": "O2", "amp_dtype": "bfloat16"}, "use float16"), ({"sync_bn": True}, "sync_bn")):
        with pytest.raises(UserError, match=words):
            check_device(TrainConfig(**wrong), "CPU")
    check_device(TrainConfig(amp_level="O2", amp_dtype="bfloat16", sync_bn=True), "Ascend")
