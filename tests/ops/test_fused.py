"""The compiled operators inside MindSpore: GELU against float64, whole blocks against the dense backend, threads."""

import math

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from neonext_ms.models.layers import Block
from neonext_ms.ops import NeoCell, parse_spec
from neonext_ms.ops.cpu_library import cpu_vector_width, set_cpu_threads
from neonext_ms.ops.fused import FusedGELU


@pytest.fixture(params=[ms.GRAPH_MODE, ms.PYNATIVE_MODE], ids=["graph", "pynative"])
def mode(request):
    before = ms.get_context("mode")
    ms.set_context(mode=request.param)
    yield request.param
    ms.set_context(mode=before)


class Weighted(nn.Cell):
    """Sum of a network's outputs, weighted so that every gradient differs."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def construct(self, x, dy):
        return ops.sum(self.network(x) * dy)


class Gradients(nn.Cell):
    """Gradients of the weighted sum by the input and by all parameters."""

    def __init__(self, network):
        super().__init__()
        self.weighted = Weighted(network)
        self.weights = ms.ParameterTuple(network.trainable_params())
        self.gradient = ops.grad(self.weighted, 0, self.weights if len(self.weights) else None)

    def construct(self, x, dy):
        return self.gradient(x, dy)


@pytest.mark.parametrize("dtype, unit", [(np.float32, 2.0**-24), (np.float16, 2.0**-11)])
@pytest.mark.parametrize("shape", [(100003,), (3, 5, 7, 11)])
def test_gelu_and_its_gradient(shape, dtype, unit, mode):
    rng = np.random.default_rng(0)
    x = (4 * rng.standard_normal(shape)).astype(dtype)
    dy = rng.standard_normal(shape).astype(dtype)
    y = FusedGELU()(Tensor(x)).asnumpy()
    dx = Gradients(FusedGELU())(Tensor(x), Tensor(dy)).asnumpy()
    assert y.dtype == dx.dtype == dtype

    x64 = x.astype(np.float64)
    phi = np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2)))(x64)
    slope = phi + x64 * np.exp(-x64 * x64 / 2) / math.sqrt(2 * math.pi)
    smallest = 6e-8 if dtype == np.float16 else np.finfo(dtype).smallest_normal  # below it, results may be zero
    assert np.all(np.abs(y - x64 * phi) <= 8 * unit * np.abs(x64 * phi) + smallest)
    assert np.all(np.abs(dx - dy * slope) <= 5 * unit * np.abs(dy) + smallest)


def test_block_equals_the_dense_block(mode):
    groups = parse_spec("4+7", 24, 1)
    blocks = [Block(groups, True, 0.5, backend, "neo", np.random.default_rng(1)) for backend in ("fused", "dense")]
    assert isinstance(blocks[0].act, FusedGELU) and not isinstance(blocks[1].act, FusedGELU)
    rng = np.random.default_rng(2)
    x, dy = (Tensor(rng.standard_normal((2, 24, 14, 17)).astype(np.float32)) for _ in range(2))
    results = []
    for block in blocks:
        block.set_train(True)
        dx, weights = Gradients(block)(x, dy)
        results.append([block(x), dx, *weights])
    for fused, dense in zip(*results):
        fused, dense = fused.asnumpy(), dense.asnumpy()
        np.testing.assert_allclose(fused, dense, rtol=0, atol=2e-5 * np.abs(dense).max())


def test_same_bits_for_any_number_of_threads(mode):
    cell = NeoCell(parse_spec("4+7", 64, 1), has_bias=True, backend="fused", seed=0)
    rng = np.random.default_rng(1)
    x, dy = (Tensor(rng.standard_normal((8, 64, 28, 28)).astype(np.float32)) for _ in range(2))
    results = []
    try:
        for threads in (1, 2, 3):
            set_cpu_threads(threads)
            dx, weights = Gradients(cell)(x, dy)
            results.append([cell(x).asnumpy(), dx.asnumpy(), *(w.asnumpy() for w in weights)])
    finally:
        set_cpu_threads(0)
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_array_equal(a, b)


def test_auto_is_fused_here_and_other_types_still_work(mode):
    cell = NeoCell(parse_spec("7", 7), seed=0)
    assert cell.backend == "fused" and cpu_vector_width() in cell.backend_reason
    x = np.random.default_rng(0).standard_normal((1, 7, 9, 9))
    single = cell(Tensor(x.astype(np.float32))).asnumpy()
    double = cell(Tensor(x))
    assert double.dtype == ms.float64
    np.testing.assert_allclose(single, double.asnumpy(), atol=1e-5)
