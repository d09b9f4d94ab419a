"""Layers on pixels against float64, compiled and by MindSpore's own operators."""

import math

import numpy as np
import pytest
from mindspore import Tensor

from neonext_ms.models.pointwise import MLP, Pointwise
from tests.support.gradients import ForwardAndGradients, assert_as_near

# An odd plane, and one so small that a weight's gradient is a product of transposes instead of a sum of products.
PLANES = [("auto", (7, 9)), ("dense", (7, 9)), ("dense", (1, 2))]


def product(weight, bias, x, dy, dtype):
    """y, dx, dweight, dbias of W @ x + b at every pixel, with arithmetic in dtype."""
    weight, bias, x, dy = (value.astype(dtype) for value in (weight, bias, x, dy))
    y = np.einsum("oc,nchw->nohw", weight, x) + bias[:, None, None]
    return y, np.einsum("oc,nohw->nchw", weight, dy), np.einsum("nohw,nchw->oc", dy, x), dy.sum((0, 2, 3))


def mlp(weights, x, dy, dtype):
    """y, dx, and the gradients of fc1's and fc2's weight and bias."""
    w1, b1, w2, b2 = weights
    hidden = product(w1, b1, x, np.zeros((len(x), len(w1), *x.shape[2:])), dtype)[0]
    phi = np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2)), [dtype])(hidden)
    y, dhidden, dw2, db2 = product(w2, b2, hidden * phi, dy, dtype)
    dhidden = dhidden * (phi + hidden * np.exp(-hidden * hidden / 2) / dtype(math.sqrt(2 * math.pi)))
    _, dx, dw1, db1 = product(w1, b1, x, dhidden, dtype)
    return y, dx, dw1, db1, dw2, db2


def check(layer, function, out_channels, dtype, plane):
    """Forward and every gradient of a layer with biases."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 23, *plane)).astype(dtype)
    dy = rng.standard_normal((3, out_channels, *plane)).astype(dtype)
    y, dx, gradients = ForwardAndGradients(layer.set_train(True))(Tensor(x), Tensor(dy))
    weights = [p.asnumpy() for p in layer.trainable_params()]
    naive, exact = (function(weights, x, dy, precision) for precision in (dtype, np.float64))
    assert y.asnumpy().dtype == dx.asnumpy().dtype == dtype
    for value, lower, true in zip((y, dx, *gradients), naive, exact, strict=True):
        assert_as_near(value.asnumpy(), lower, true)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("backend, plane", PLANES)
def test_pointwise(backend, plane, dtype):
    layer = Pointwise(23, 13, True, np.random.default_rng(1), backend)
    assert (layer.fused is not None) == (backend == "auto")
    check(layer, lambda weights, *rest: product(*weights, *rest), 13, dtype, plane)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("backend, plane", PLANES)
def test_mlp(backend, plane, dtype):
    layer = MLP(23, 37, True, np.random.default_rng(1), backend)
    assert (layer.fused is not None) == (backend == "auto")
    check(layer, mlp, 23, dtype, plane)


@pytest.mark.parametrize("backend", ["auto", "dense"])
def test_without_biases_and_in_another_type(backend):
    x = Tensor(np.random.default_rng(0).standard_normal((2, 5, 3, 3)))
    for layer in (
        Pointwise(5, 4, False, np.random.default_rng(1), backend),
        MLP(5, 8, False, np.random.default_rng(1)),
    ):
        double, single = layer(x).asnumpy(), layer(x.astype("float32")).asnumpy()
        assert double.dtype == np.float64
        np.testing.assert_allclose(single, double, rtol=0, atol=8 * np.finfo(np.float32).eps)
