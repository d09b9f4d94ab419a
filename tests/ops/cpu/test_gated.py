"""The products of a gated block as compiled operators against float64; such a block beside MindSpore's operators."""

import math

import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from neonext_ms.models.form import BlockForm
from neonext_ms.models.layers import Block
from neonext_ms.ops import parse_spec
from neonext_ms.ops.cpu.gated import FusedGatedBranch, FusedHalves
from neonext_ms.ops.precision import using_matmul_precision
from tests.ops.cpu.test_precision import Both, exact, pointwise_and_gradients, to_bfloat16

SHAPES = [(3, 5, 7, 12), (2, 23, 14, 17), (1, 4, 1, 24), (5, 8, 3, 1)]
PRECISIONS = [("highest", np.float32), ("bfloat16", np.float32), ("highest", np.float16)]


class SideBySide(nn.Cell):
    """Both halves as one output."""

    def __init__(self):
        super().__init__()
        self.halves = FusedHalves()

    def construct(self, x, weight, bias):
        first, last = self.halves(x, weight, bias)
        return ops.concat((first, last), 1)


def gated_and_gradients(trunk, u, z, w, b, keep, dy, enter):
    """y and the gradients of all but keep in float64; enter: what happens to a value that enters a product."""
    phi = np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2)))(u)
    factors = keep[:, None, None, None]
    y, dg, dw, db = pointwise_and_gradients(u * phi * z, w, b, factors * dy, enter)
    slope = phi + u * np.exp(-u * u / 2) / math.sqrt(2 * math.pi)
    return trunk + factors * y, dy, dg * z * slope, dg * u * phi, dw, db


def compare(found, form, inputs, precision):
    """Every output against float64, in bfloat16 with at most twice the error of rounding what enters a product."""
    inputs = [value.asnumpy().astype(np.float64) for value in inputs]
    limit = 2e-5 if found[0].asnumpy().dtype == np.float32 else 4e-3
    for number, (value, want, plain) in enumerate(zip(found, form(*inputs, exact), form(*inputs, to_bfloat16))):
        allowed = 2 * np.abs(plain - want).max() if precision == "bfloat16" else 0
        error = np.abs(value.asnumpy().astype(np.float64) - want).max()
        assert error <= allowed + limit * max(np.abs(want).max(), 1e-3), (number, error, allowed)


def random(dtype, *shapes):
    rng = np.random.default_rng(sum(map(sum, shapes)))
    return [Tensor(rng.standard_normal(shape).astype(dtype)) for shape in shapes]


@pytest.mark.parametrize("precision, dtype", PRECISIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_halves_and_every_gradient(shape, precision, dtype, mode):
    n, c, *plane = shape
    inputs = random(dtype, shape, (2 * c + 6, c), (2 * c + 6,), (n, 2 * c + 6, *plane))
    with using_matmul_precision(precision):
        y, gradients = Both(SideBySide())(*inputs)
    compare((y, *gradients), pointwise_and_gradients, inputs, precision)


@pytest.mark.parametrize("precision, dtype", PRECISIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_gated_branch_and_every_gradient(shape, precision, dtype, mode):
    n, c, *plane = shape
    trunk, dy = random(dtype, (n, c + 3, *plane), (n, c + 3, *plane))
    inputs = [trunk, *random(dtype, shape, shape, (c + 3, c), (c + 3,))]
    keep = Tensor(np.random.default_rng(n).choice([0, 1, 1.25], n).astype(np.float32))
    with using_matmul_precision(precision):
        y, gradients = Both(FusedGatedBranch())(*inputs, keep, dy)
    assert not gradients[5].asnumpy().any()
    compare((y, *gradients[:5]), gated_and_gradients, [*inputs, keep, dy], precision)


@pytest.mark.parametrize("layer_scale", [0.0, 0.5])
def test_a_block_equals_one_of_mindspores_operators(layer_scale, mode):
    """Without and with drop path; both in training, so that BatchNorm takes the statistics of the batch."""
    x, dy = random(np.float32, (3, 9, 7, 12), (3, 9, 7, 12))
    keep = Tensor(np.array([0, 1.25, 1], np.float32))
    found = []
    for backend in ("auto", "dense"):
        options = {"linear_bias": True, "layer_scale": layer_scale, "form": BlockForm(gate=True), "backend": backend}
        block = Block(parse_spec("4+7", 18, 1), np.random.default_rng(0), **options).set_train(True)
        assert (block.gate is None) == (backend == "dense")
        y, (dx, *_) = Both(block)(x, keep, dy)
        found.append([value.asnumpy() for value in (block(x), y, dx)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())
