"""The compiled operators of an update, against NumPy: vectors of odd lengths, any number of threads."""

import numpy as np
import pytest
from mindspore import Tensor

from neonext_ms.ops.cpu.library import set_cpu_threads
from neonext_ms.ops.cpu.update import Average, ScaledIf, SumOfSquares

RNG = np.random.default_rng(0)
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
def test_what_is_no_number_shows_in_the_sum_and_is_not_let_through(bad):
    x = np.ones(40000, np.float32)
    x[39999] = bad
    assert not np.isfinite(SumOfSquares()(Tensor(x)).asnumpy())
    factor = Tensor(np.float32(0.5))
    y = by_threads(lambda: ScaledIf()(Tensor(True), factor, Tensor(x)))
    assert np.array_equal(y, x * np.float32(0.5), equal_nan=True)
    assert not by_threads(lambda: ScaledIf()(Tensor(False), factor, Tensor(x))).any()


@pytest.mark.parametrize("shapes", [[(1,)], [(3, 5), (1,), (20000,), (7, 3, 3)]])
def test_average_of_parameters_laid_end_to_end(shapes):
    parameters = [RNG.standard_normal(shape).astype(np.float32) for shape in shapes]
    values = np.concatenate([p.ravel() for p in parameters])
    averages = RNG.standard_normal(values.size).astype(np.float32)
    given = tuple(map(Tensor, parameters))  # as arguments, a graph takes no Parameters
    result = by_threads(lambda: Average()(Tensor(np.float32(0.25)), Tensor(averages), given))
    np.testing.assert_allclose(result, 0.75 * averages + 0.25 * values, rtol=0, atol=1e-6)
    unchanged = Average()(Tensor(np.float32(0)), Tensor(averages), given).asnumpy()
    assert np.array_equal(unchanged, averages)
