"""NeoInit and the ablation's baseline."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from neonext_ms.ops import Group, NeoCell, parse_spec
from neonext_ms.ops.init import averaging_identity, neo_init, normal_init


def test_integer_ratios_are_averaging_identities():
    np.testing.assert_array_equal(averaging_identity(5, 5), np.eye(5))
    np.testing.assert_array_equal(averaging_identity(1, 2), [[0.5, 0.5]])
    np.testing.assert_array_equal(averaging_identity(2, 6), np.kron(np.eye(2), np.full((1, 3), 1 / 3)))
    # Up-sampling as the released code has it: every input spread over r outputs with weight 1 / r.
    np.testing.assert_array_equal(averaging_identity(6, 2), np.kron(np.eye(2), np.full((3, 1), 1 / 3)))


@pytest.mark.parametrize("rows, cols", [(5, 8), (8, 5), (2, 3), (3, 2), (7, 4), (1, 9)])
def test_fractional_ratios_share_by_area(rows, cols):
    identity = averaging_identity(rows, cols)
    sums = identity.sum(1) if rows < cols else identity.sum(0)
    np.testing.assert_allclose(sums, 1, atol=1e-15)
    # Area overlap of cell i of `rows` with cell j of `cols`, measured on a grid that both divide.
    grid = (np.arange(rows * cols) + 0.5) / (rows * cols)
    overlap = np.zeros((rows, cols))
    np.add.at(overlap, ((grid * rows).astype(int), (grid * cols).astype(int)), 1 / max(rows, cols))
    np.testing.assert_allclose(identity, overlap, atol=1e-15)


@pytest.mark.parametrize("rows, cols", [(7, 7), (4, 4), (1, 2), (8, 5)])
def test_noise_has_the_papers_deviation(rows, cols):
    draws = neo_init(20000, rows, cols, np.random.default_rng(1))
    np.testing.assert_allclose(draws.mean(0), averaging_identity(rows, cols), atol=5 / np.sqrt(20000 * rows * cols))
    noise = draws - averaging_identity(rows, cols)
    np.testing.assert_allclose(noise.std(0), 1 / np.sqrt(rows * cols), rtol=0.03)


def test_random_normal_has_variance_one_over_the_outputs():
    cell = NeoCell([Group(4000, (3, 8), (5, 2))], init="normal", seed=0)
    left, right = cell.left[0].asnumpy(), cell.right[0].asnumpy()
    np.testing.assert_allclose([left.mean(), right.mean()], 0, atol=0.01)
    np.testing.assert_allclose([left.var(), right.var()], [1 / 3, 1 / 2], rtol=0.03)
    assert normal_init(2, 3, 3, np.random.default_rng(0), outputs=3).dtype == np.float32


def test_seeds():
    def blocks(seed):
        return [p.asnumpy() for p in NeoCell(parse_spec("4+7", 8, 1), seed=seed).get_parameters()]

    def equal(a, b):
        return all(np.array_equal(x, y) for x, y in zip(a, b))

    assert equal(blocks(3), blocks(3))
    assert not equal(blocks(3), blocks(4))
    ms.set_seed(5)
    first, second = blocks(None), blocks(None)
    ms.set_seed(5)
    assert equal(first, blocks(None)), "mindspore.set_seed makes unseeded cells repeatable"
    assert not equal(first, second), "and they differ from one another"
    left, right = NeoCell([Group.square(4, 8)], seed=0).get_parameters()
    assert not np.array_equal(left.asnumpy(), right.asnumpy())


def test_fresh_down_sampling_without_noise_is_average_pooling():
    cell = NeoCell([Group.resample(2, 1, 3)])
    cell.left[0].set_data(Tensor(neo_init(3, 1, 2, np.random.default_rng(0), noise=0)))
    cell.right[0].set_data(Tensor(neo_init(3, 2, 1, np.random.default_rng(0), noise=0)))
    x = np.random.default_rng(2).standard_normal((2, 3, 15, 12)).astype(np.float32)
    pooled = x[:, :, :14].reshape(2, 3, 7, 2, 6, 2).mean((3, 5))
    np.testing.assert_allclose(cell(Tensor(x)).asnumpy(), pooled, rtol=0, atol=1e-6)
