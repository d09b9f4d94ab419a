"""The compiled BatchNorm in a graph beside MindSpore's own, which the layer takes with another backend."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from neonext_ms.models.layers import BatchNorm

RNG = np.random.default_rng(0)


class Gradients(nn.Cell):
    """Not by ms.vjp, which in PyNative runs the layer twice up to MindSpore 2.8: its statistics would change twice."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.gradient = ops.value_and_grad(self.loss, 0, layer.trainable_params(), has_aux=True)

    def loss(self, x, dy):
        y = self.layer(x)
        return (y * dy).sum(), y

    def construct(self, x, dy):
        (_, y), gradients = self.gradient(x, dy)
        return y, gradients


def results(backend, x, dy, gamma, beta):
    """Output, gradients and running statistics of two updates in a row."""
    layer = BatchNorm(x.shape[1], backend).set_train(True)
    assert (layer.fused is None) == (backend == "dense")
    layer.gamma.set_data(Tensor(gamma)), layer.beta.set_data(Tensor(beta))
    cell = Gradients(layer).set_train(True)
    cell(Tensor(x[::-1].copy()), Tensor(dy))
    y, (dx, (dgamma, dbeta)) = cell(Tensor(x), Tensor(dy))
    assert y.dtype == dx.dtype == Tensor(x).dtype
    found = y, dx, dgamma, dbeta, layer.moving_mean, layer.moving_variance
    return [value.asnumpy().astype(np.float64) for value in found]


@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE])
@pytest.mark.parametrize("dtype, limit", [(np.float32, 1e-5), (np.float16, 2e-3)])
def test_as_mindspores_own(mode, dtype, limit):
    ms.set_context(mode=mode)
    x = (RNG.standard_normal((3, 5, 7, 12)) * 2 + 1).astype(dtype)
    dy = RNG.standard_normal(x.shape).astype(dtype)
    gamma, beta = (RNG.standard_normal(5).astype(np.float32) for _ in range(2))
    try:
        ours, theirs = (results(backend, x, dy, gamma, beta) for backend in ("auto", "dense"))
    finally:
        ms.set_context(mode=ms.GRAPH_MODE)
    names = "y", "dx", "dgamma", "dbeta", "moving mean", "moving variance"
    for name, a, b in zip(names, ours, theirs):
        np.testing.assert_allclose(a, b, rtol=0, atol=limit * np.abs(b).max(), err_msg=name)
    mean = 0.1 * x.astype(np.float64).mean((0, 2, 3))
    np.testing.assert_allclose(ours[4], 0.9 * mean + mean, rtol=1e-4, atol=1e-5)


def test_evaluation_and_frozen_statistics_are_those_of_the_layer():
    ms.set_context(mode=ms.GRAPH_MODE)
    x = Tensor(RNG.standard_normal((2, 3, 4, 4)).astype(np.float32))
    layer = BatchNorm(3).set_train(False)
    np.testing.assert_allclose(layer(x).asnumpy(), x.asnumpy() / np.sqrt(1 + 1e-5), rtol=1e-5)
    layer.use_batch_statistics = False
    np.testing.assert_allclose(layer.set_train(True)(x).asnumpy(), x.asnumpy() / np.sqrt(1 + 1e-5), rtol=1e-5)
    assert not layer.moving_mean.asnumpy().any()
