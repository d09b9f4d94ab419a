"""The compiled operators inside MindSpore: the MLP against float64, whole blocks against the dense backend, threads."""

import math

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from neonext_ms.models.layers import Block
from neonext_ms.ops import NeoCell, parse_spec
from neonext_ms.ops.cpu.library import cpu_vector_width, set_cpu_threads
from neonext_ms.ops.cpu.mlp import FusedMLP
from tests.support.gradients import ForwardAndGradients, assert_as_near


class Both(nn.Cell):
    """Output and all gradients of an MLP that has its weights as inputs."""

    def __init__(self, mlp):
        super().__init__()
        self.mlp = mlp
        self.gradient = ops.GradOperation(get_all=True, sens_param=True)(mlp)

    def construct(self, x, w1, b1, w2, b2, dy):
        return self.mlp(x, w1, b1, w2, b2), self.gradient(x, w1, b1, w2, b2, dy)


def mlp_and_gradients(inputs, dtype):
    """y and all gradients in NumPy, by the textbook, with arithmetic in dtype."""
    x, w1, b1, w2, b2, dy = (value.astype(dtype) for value in inputs)
    h = np.einsum("mc,nchw->nmhw", w1, x) + b1[:, None, None]
    phi = np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2)), [dtype])(h)
    slope = phi + h * np.exp(-h * h / 2) / dtype(math.sqrt(2 * math.pi))
    dh = np.einsum("cm,nchw->nmhw", w2, dy) * slope
    y = np.einsum("cm,nmhw->nchw", w2, h * phi) + b2[:, None, None]
    dx, dw1 = np.einsum("mc,nmhw->nchw", w1, dh), np.einsum("nmhw,nchw->mc", dh, x)
    return y, dx, dw1, dh.sum((0, 2, 3)), np.einsum("nchw,nmhw->cm", dy, h * phi), dy.sum((0, 2, 3))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_mlp_and_its_gradients(dtype, training, mode):
    rng = np.random.default_rng(0)
    shapes = [(3, 24, 7, 9), (40, 24), (40,), (24, 40), (24,), (3, 24, 7, 9)]
    inputs = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    y, gradients = Both(FusedMLP().set_train(training))(*map(Tensor, inputs))
    exact, naive = mlp_and_gradients(inputs, np.float64), mlp_and_gradients(inputs, dtype)
    for value, lower, true in zip((y, *gradients), naive, exact, strict=True):
        assert value.asnumpy().dtype == dtype
        assert_as_near(value.asnumpy(), lower, true)


def test_block_equals_the_dense_block(mode):
    groups = parse_spec("4+7", 24, 1)
    blocks = [Block(groups, np.random.default_rng(1), True, 0.5, backend) for backend in ("fused", "dense")]
    assert blocks[0].norm_branch is not None and blocks[1].norm_branch is None
    rng = np.random.default_rng(2)
    x, dy = (Tensor(rng.standard_normal((2, 24, 14, 17)).astype(np.float32)) for _ in range(2))
    results = []
    for block in blocks:
        y, dx, weights = ForwardAndGradients(block.set_train(True))(x, dy)
        results.append([y, dx, *weights])
    for fused, dense in zip(*results, strict=True):
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
            y, dx, weights = ForwardAndGradients(cell)(x, dy)
            results.append([value.asnumpy() for value in (y, dx, *weights)])
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
