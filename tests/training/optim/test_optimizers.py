"""Optimisers and schedule against NumPy re-computations."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor

from neonext_ms import create_model
from neonext_ms.training.optim.adamw import AdamW
from neonext_ms.training.optim.optimizer import weight_decay_mask
from neonext_ms.training.optim.schedule import learning_rate
from neonext_ms.training.optim.sgd import SGD

STEPS = 10


@pytest.fixture
def problem():
    """Two parameters of each decay group, and gradients and learning rates for ten steps."""
    ms.set_context(mode=ms.GRAPH_MODE)
    rng = np.random.default_rng(0)
    shapes = {"a.weight": (3, 4), "b.left.0": (2, 3, 3), "a.bias": (3,), "n.gamma": (5,)}
    values = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    # Small gradients too, where the place of epsilon shows.
    gradients = [
        {n: (v * 10.0 ** rng.integers(-9, 1, v.shape)).astype(np.float32) for n, v in values.items()}
        for _ in range(STEPS)
    ]
    rates = rng.uniform(1e-3, 1e-1, STEPS)
    return values, gradients, rates


def run(make, values, gradients, rates):
    parameters = [Parameter(Tensor(v), name=n) for n, v in values.items()]
    optimizer = make(parameters)
    for gradient, rate in zip(gradients, rates):
        vectors = tuple(
            Tensor(np.concatenate([gradient[p.name].ravel() for p in g.parameters])) for g in optimizer.groups
        )
        optimizer(vectors, Tensor(np.float32(rate)), Tensor(True), Tensor(np.float32(1)))
    return {p.name: p.asnumpy() for p in parameters}


def test_adamw_is_the_textbooks(problem):
    values, gradients, rates = problem
    actual = run(lambda p: AdamW(p, 0.05, (0.9, 0.99), eps=1e-8), *problem)
    for name, value in values.items():
        w, m, v = value.astype(np.float64), 0.0, 0.0
        decay = 0.05 if name in ("a.weight", "b.left.0") else 0.0
        for t, (gradient, lr) in enumerate(zip(gradients, rates), 1):
            g = gradient[name].astype(np.float64)
            m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
            w = w - lr * decay * w
            w = w - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
        np.testing.assert_allclose(actual[name], w, rtol=2e-5, atol=2e-6)


def test_sgd_with_momentum(problem):
    values, gradients, rates = problem
    actual = run(lambda p: SGD(p, 0.05, momentum=0.9), *problem)
    for name, value in values.items():
        w, velocity = value.astype(np.float64), 0.0
        decay = 0.05 if name in ("a.weight", "b.left.0") else 0.0
        for gradient, lr in zip(gradients, rates):
            velocity = 0.9 * velocity + gradient[name] + decay * w
            w = w - lr * velocity
        np.testing.assert_allclose(actual[name], w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["neonext_pico", "neonext_t_v2"])
def test_weight_decay_applies_to_matrices_only(name):
    parameters = create_model(name, 10, seed=0).trainable_params()
    decayed = {p.name for p, d in zip(parameters, weight_decay_mask(parameters)) if d}
    kept = {p.name for p in parameters} - decayed
    assert {n.split(".")[-1] for n in kept} <= {"gamma", "beta", "bias", "layer_scale"}
    assert all("neocell" in n or n.endswith("weight") for n in decayed)
    assert sum(".left." in n for n in decayed) == sum(".left." in p.name for p in parameters)


def test_a_parameter_of_no_group_is_an_error():
    with pytest.raises(RuntimeError, match="odd.thing"):
        weight_decay_mask([Parameter(Tensor(np.zeros((2, 2), np.float32)), name="odd.thing")])


def test_schedule():
    rates = [learning_rate(s, 100, 10, 0.5, 0.1) for s in range(100)]
    np.testing.assert_allclose(rates[:10], 0.05 * np.arange(1, 11))
    np.testing.assert_allclose(rates[10:], 0.3 + 0.2 * np.cos(np.pi * np.arange(90) / 90))
    assert learning_rate(0, 10, 0, 1.0, 0.0) == 1.0
    assert learning_rate(9, 10, 10, 1.0, 0.0) == 1.0, "a run that is all warm-up"
