"""Products in bfloat16 inside MindSpore: as near to float64 as rounding what enters them is, where it was asked for."""

import math

import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from neonext_ms.errors import UserError
from neonext_ms.models.pointwise import Pointwise
from neonext_ms.ops.backend import check_precision
from neonext_ms.ops.cpu.mlp import FusedMLP, FusedResidualMLP
from neonext_ms.ops.cpu.pointwise import FusedPointwise
from neonext_ms.ops.precision import matmul_precision, set_matmul_precision, using_matmul_precision


class Both(nn.Cell):
    """Output and all gradients of a layer that has its weights as inputs."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.gradient = ops.GradOperation(get_all=True, sens_param=True)(layer)

    def construct(self, *inputs):
        return self.layer(*inputs[:-1]), self.gradient(*inputs)


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch):
    monkeypatch.delenv("NEONEXT_MATMUL_PRECISION", raising=False)
    yield
    set_matmul_precision(None)


def to_bfloat16(value):
    """float64 to the nearest number of 8 significant bits."""
    fraction, exponent = np.frexp(value)
    return np.ldexp(np.rint(fraction * 256), exponent - 8)


def exact(value):
    return value


def mlp_and_gradients(x, w1, b1, w2, b2, dy, enter):
    """y and all gradients in float64; enter: what happens to a value that enters a product."""
    x_, w1_, w2_, dy_ = (enter(value) for value in (x, w1, w2, dy))
    h = np.einsum("mc,nchw->nmhw", w1_, x_) + b1[:, None, None]
    phi = np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2)))(h)
    y = np.einsum("cm,nmhw->nchw", w2_, enter(h * phi)) + b2[:, None, None]
    h = enter(h)  # as it is kept for the gradients
    phi = np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2)))(h)
    g = enter(h * phi)
    dh = enter(np.einsum("cm,nchw->nmhw", w2_, dy_) * (phi + h * np.exp(-h * h / 2) / math.sqrt(2 * math.pi)))
    dx, dw1 = np.einsum("mc,nmhw->nchw", w1_, dh), np.einsum("nmhw,nchw->mc", dh, x_)
    return y, dx, dw1, dh.sum((0, 2, 3)), np.einsum("nchw,nmhw->cm", dy_, g), dy.sum((0, 2, 3))


def pointwise_and_gradients(x, w, b, dy, enter):
    x_, w_, dy_ = (enter(value) for value in (x, w, dy))
    y = np.einsum("oc,nchw->nohw", w_, x_) + b[:, None, None]
    return y, np.einsum("oc,nohw->nchw", w_, dy_), np.einsum("nohw,nchw->oc", dy_, x_), dy.sum((0, 2, 3))


CASES = {
    "mlp": (FusedMLP, mlp_and_gradients, [(3, 23, 7, 9), (41, 23), (41,), (23, 41), (23,), (3, 23, 7, 9)]),
    "pointwise": (FusedPointwise, pointwise_and_gradients, [(3, 23, 7, 9), (12, 23), (12,), (3, 12, 7, 9)]),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layer", CASES)
def test_outputs_and_gradients_are_those_of_bfloat16_and_float32_sums(layer, training, mode):
    cell, form, shapes = CASES[layer]
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    with using_matmul_precision("bfloat16"):
        both = Both(cell().set_train(training))
    y, gradients = both(*map(Tensor, inputs))
    true, rounded = (form(*(v.astype(np.float64) for v in inputs), enter) for enter in (exact, to_bfloat16))
    for value, expected, naive in zip((y, *gradients), true, rounded, strict=True):
        error, allowed = np.abs(value.asnumpy() - expected).max(), np.abs(naive - expected).max()
        assert error <= 2 * allowed + 1e-5 * np.abs(expected).max()
        assert allowed == 0 or error > allowed / 4  # in float32 it would be far nearer


def test_residual_and_whole_layers_take_it_too():
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(shape).astype(np.float32) for shape in CASES["mlp"][2]]
    with using_matmul_precision("bfloat16"):
        mlp, residual, layer = FusedMLP().set_train(False), FusedResidualMLP(), Pointwise(23, 7, True, rng)
    *inputs, trunk = map(Tensor, values)
    y, sum_ = mlp(*inputs).asnumpy(), residual(*inputs, trunk).asnumpy()
    np.testing.assert_allclose(sum_, y + values[-1], rtol=0, atol=1e-5)
    in_float32 = FusedMLP().set_train(False)(*inputs).asnumpy()
    assert 1e-4 < np.abs(y - in_float32).max() / np.abs(y).max() < 2e-2
    x = values[0]
    weight, bias = layer.weight.asnumpy().astype(np.float64), layer.bias.asnumpy()
    expected = np.einsum("oc,nchw->nohw", to_bfloat16(weight), to_bfloat16(x.astype(np.float64))) + bias[:, None, None]
    np.testing.assert_allclose(layer(Tensor(x)).asnumpy(), expected, rtol=0, atol=1e-5)


def test_where_the_precision_comes_from(monkeypatch):
    assert matmul_precision() == "highest"
    monkeypatch.setenv("NEONEXT_MATMUL_PRECISION", "bfloat16")
    assert matmul_precision() == "bfloat16"
    set_matmul_precision("highest")
    assert matmul_precision() == "highest"
    with using_matmul_precision("bfloat16"):
        assert matmul_precision() == "bfloat16"
    with using_matmul_precision(None):
        assert matmul_precision() == "highest"
    set_matmul_precision(None)
    assert matmul_precision() == "bfloat16"


def test_another_precision_is_refused(monkeypatch):
    with pytest.raises(UserError, match="^matmul_precision is 'tf32', expected one of highest, bfloat16$"):
        set_matmul_precision("tf32")
    monkeypatch.setenv("NEONEXT_MATMUL_PRECISION", "fast")
    with pytest.raises(UserError, match="^NEONEXT_MATMUL_PRECISION is 'fast', expected one of"):
        FusedMLP()


def test_where_nothing_is_compiled_it_is_refused():
    check_precision("highest", "dense")
    check_precision("bfloat16", "auto")
    with pytest.raises(UserError, match=r"^matmul_precision=bfloat16 is of .* \(the backend dense was asked for\): "):
        check_precision("bfloat16", "dense")
