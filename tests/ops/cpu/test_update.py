"""The compiled operators of an update, against NumPy: vectors of odd lengths, any number of threads."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from neonext_ms.ops.cpu.library import set_cpu_threads
from neonext_ms.ops.cpu.update import Average, Join, SGDUpdate, SumOfSquares

RNG = np.random.default_rng(0)
SHAPES = [(3, 5), (1,), (20000,), (7, 3, 3)]
SIZES = [1, 17, 16384, 3 * 16384 + 5]


def by_threads(run):
    """The result, which is the same bits for 1, 2 and 3 threads."""
    results = []
    try:
        for threads in (1, 2, 3):
            set_cpu_threads(threads)
            results.append(run().asnumpy())
    finally:
        set_cpu_threads(0)
    assert all(np.array_equal(results[0], other, equal_nan=True) for other in results)
    return results[0]


@pytest.mark.parametrize("size", SIZES)
def test_sum_of_squares_is_nearer_than_a_plain_sum_in_float32(size):
    x = RNG.standard_normal(size).astype(np.float32)
    total = by_threads(lambda: SumOfSquares()(Tensor(x)))
    assert total.shape == () and abs(total / (x.astype(np.float64) ** 2).sum() - 1) < 1e-6


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_shows_in_the_sum(bad):
    x = np.ones(40000, np.float32)
    x[39999] = bad
    assert not np.isfinite(SumOfSquares()(Tensor(x)).asnumpy())


def test_tensors_end_to_end():
    tensors = [RNG.standard_normal(shape).astype(np.float32) for shape in SHAPES]
    joined = by_threads(lambda: Join()(tuple(map(Tensor, tensors))))
    assert np.array_equal(joined, np.concatenate([t.ravel() for t in tensors]))


class ReadThenChanged(nn.Cell):
    """The sums of parameters as they were, after they have changed twice and been averaged, and the last sums."""

    def __init__(self, shapes):
        super().__init__(auto_prefix=False)
        values = [RNG.standard_normal(shape).astype(np.float32) for shape in shapes]
        self.parameters = ParameterTuple([Parameter(Tensor(v), name=f"p{i}") for i, v in enumerate(values)])
        size = sum(v.size for v in values)
        self.velocity = Parameter(Tensor(np.zeros(size, np.float32)), name="velocity")
        self.averages = Parameter(Tensor(np.ones(size, np.float32)), name="averages")
        self.sgd, self.average = SGDUpdate(len(shapes)), Average(len(shapes))

    def construct(self, numbers, rate, gradients):
        before = ops.sum(self.parameters[0])
        self.sgd(numbers, (gradients, self.velocity), self.parameters)
        self.sgd(numbers, (gradients, self.velocity), self.parameters)
        self.average((rate,), (self.averages,), self.parameters)
        return before, ops.sum(self.parameters[0])


def test_parameters_change_in_place_and_in_the_order_of_the_program():
    """Two updates of w -= 0.5 v, v = 0.5 v + g + 0.25 w, seen by what is read before and after, in every run."""
    ms.set_context(mode=ms.GRAPH_MODE)
    cell = ReadThenChanged(SHAPES)
    numbers = tuple(Tensor(np.float32(value)) for value in (1, 1, 0.25, 0.5, 0.5))
    off = (Tensor(np.float32(0)), *numbers[1:])
    g = RNG.standard_normal(cell.velocity.size).astype(np.float32)

    def values():
        return np.concatenate([p.asnumpy().ravel() for p in cell.parameters])

    w, v, average = values(), 0.0, 1.0
    first = SHAPES[0]
    for _ in range(2):
        before, after = cell(numbers, Tensor(np.float32(0.75)), Tensor(g))
        np.testing.assert_allclose(before.asnumpy(), w[: np.prod(first)].sum(), rtol=1e-5)
        for _ in range(2):
            v = 0.5 * v + g + 0.25 * w
            w = w - 0.5 * v
        average = average + 0.75 * (w - average)
        np.testing.assert_allclose(values(), w, rtol=0, atol=1e-5)
        np.testing.assert_allclose(cell.averages.asnumpy(), average, rtol=0, atol=1e-5)
        np.testing.assert_allclose(after.asnumpy(), w[: np.prod(first)].sum(), rtol=1e-4)
    kept = values()
    cell(off, Tensor(np.float32(0)), Tensor(g * np.float32(np.nan)))
    assert np.array_equal(values(), kept) and np.isfinite(cell.averages.asnumpy()).all()
