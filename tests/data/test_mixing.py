"""Soft targets and mixup of neighbours."""

import numpy as np
import pytest

from neonext_ms.data import Mixing
from neonext_ms.data.mixing import blend_neighbours, one_hot
from neonext_ms.errors import UserError

K = 5


def batch(n, seed=0):
    rng = np.random.RandomState(seed)
    return rng.randn(n, 3, 4, 4).astype(np.float32), rng.randint(0, K, n).astype(np.int32)


def test_one_hot():
    np.testing.assert_array_equal(one_hot(np.array([2, -1, 0]), 3), [[0, 0, 1], [0, 0, 0], [1, 0, 0]])
    assert one_hot(np.array([2]), 3).dtype == np.float32


def test_label_smoothing():
    images, labels = batch(3)
    before = images.copy()
    targets = Mixing(label_smoothing=0.1)(images, labels, K, 0, np.random.default_rng(0))
    assert targets.dtype == np.float32
    expected = np.full((3, K), 0.1 / K)
    expected[np.arange(3), labels] += 0.9
    np.testing.assert_allclose(targets, expected, atol=1e-7)
    np.testing.assert_array_equal(images, before)


def test_blend_neighbours_exactly():
    values = np.array([[8.0], [16.0], [0.0], [4.0]], np.float32)
    blend_neighbours(values, np.array([0.75, 0.25], np.float32))
    np.testing.assert_array_equal(values, [[10], [14], [3], [1]])


def test_pixels_and_targets_are_shared_alike():
    """Pictures that carry their own one-hot label: after mixing they must equal the targets."""
    n = 64
    labels = np.arange(n) % K
    images = np.zeros((n, 3, 2, K), np.float32)
    images[:] = one_hot(labels, K)[:, None, None]
    targets = Mixing(mixup=0.8)(images, labels, K, 0, np.random.default_rng(1))
    np.testing.assert_array_equal(images[:, 0, 0], targets)
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    partners = targets[0::2] + targets[1::2]
    np.testing.assert_allclose(partners, one_hot(labels[0::2], K) + one_hot(labels[1::2], K), atol=1e-6)
    assert 20 < ((targets > 0.02) & (targets < 0.98)).any(1).sum() <= n


def test_targets_sum_to_one_with_everything_on():
    images, labels = batch(64)
    targets = Mixing(0.8, 0.1)(images, labels, K, 0, np.random.default_rng(0))
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    assert targets.min() >= np.float32(0.1 / K) - 1e-7


@pytest.mark.parametrize("alpha", [0.2, 0.8, 3.0])
def test_weights_are_beta_distributed(alpha):
    n = 8000
    images = np.zeros((n, 1, 1, 1), np.float32)
    images[0::2] = 1
    Mixing(alpha)(images, np.zeros(n, np.int32), K, 0, np.random.default_rng(0))
    weights = images[0::2].ravel().astype(float)
    assert abs(weights.mean() - 0.5) < 0.02
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(weights.var() / variance - 1) < 0.06
    np.testing.assert_allclose(images[1::2].ravel(), 1 - weights, atol=1e-6)


def test_ranks_together_mix_as_one():
    images, labels = batch(24)
    together = images.copy()
    targets = Mixing(0.4, 0.1)(together, labels, K, 0, np.random.default_rng(3))
    for start in (0, 8, 16):
        part = images[start : start + 8].copy()
        part_targets = Mixing(0.4, 0.1)(part, labels[start : start + 8], K, start // 2, np.random.default_rng(3))
        np.testing.assert_array_equal(part, together[start : start + 8])
        np.testing.assert_array_equal(part_targets, targets[start : start + 8])


@pytest.mark.parametrize(
    "values, message",
    [((-0.1, 0), "mixup"), ((float("nan"), 0), "mixup"), ((0, 1.0), "label_smoothing"), ((0, -0.1), "label_smoothing")],
)
def test_bad_values(values, message):
    with pytest.raises(UserError, match=f"^{message} must be"):
        Mixing(*values)


def test_odd_batches_are_refused_only_with_mixup():
    Mixing(label_smoothing=0.1).check_batch(7)
    Mixing(mixup=0.1).check_batch(8)
    with pytest.raises(UserError, match="batch_size must be even, got 7"):
        Mixing(mixup=0.1).check_batch(7)
