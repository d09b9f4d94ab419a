"""Soft targets, mixup and cutmix of neighbours."""

import itertools

import numpy as np
import pytest

from neonext_ms.data import Mixing
from neonext_ms.data.mixing import blend, one_hot, random_rectangle
from neonext_ms.errors import UserError

K = 5


def batch(n, seed=0):
    rng = np.random.RandomState(seed)
    return rng.randn(n, 3, 4, 4).astype(np.float32), rng.randint(0, K, n).astype(np.int32)


def rngs(seed=0, first=0):
    return (np.random.default_rng((seed, pair)) for pair in itertools.count(first))


def test_one_hot():
    np.testing.assert_array_equal(one_hot(np.array([2, -1, 0]), 3), [[0, 0, 1], [0, 0, 0], [1, 0, 0]])
    assert one_hot(np.array([2]), 3).dtype == np.float32


def test_label_smoothing():
    images, labels = batch(3)
    before = images.copy()
    targets = Mixing(label_smoothing=0.1)(images, labels, K, rngs())
    assert targets.dtype == np.float32
    expected = np.full((3, K), 0.1 / K)
    expected[np.arange(3), labels] += 0.9
    np.testing.assert_allclose(targets, expected, atol=1e-7)
    np.testing.assert_array_equal(images, before)


def test_blend_exactly():
    values = np.array([[8.0], [16.0]], np.float32)
    blend(values, 0.75)
    np.testing.assert_array_equal(values, [[10], [14]])


def own_colours(n, side):
    """Labels, and images of one colour each, whose three channels are the first three values of the one-hot label."""
    labels = np.arange(n) % K
    return labels, np.broadcast_to(one_hot(labels, K)[:, :3, None, None], (n, 3, side, side)).copy()


@pytest.mark.parametrize("mixing", [Mixing(0.8), Mixing(0, 1.0), Mixing(0.8, 1.0), Mixing(0.8, 1.0, 0.5, 0.1)])
def test_targets_are_the_shares_of_the_pixels(mixing):
    n = 300
    labels, images = own_colours(n, 20)
    targets = mixing(images, labels, K, rngs())
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    unsmoothed = (targets - mixing.label_smoothing / K) / (1 - mixing.label_smoothing)
    np.testing.assert_allclose(images.mean((2, 3)), unsmoothed[:, :3], atol=1e-5)
    partners = unsmoothed[0::2] + unsmoothed[1::2]
    np.testing.assert_allclose(partners, one_hot(labels[0::2], K) + one_hot(labels[1::2], K), atol=1e-5)
    assert ((unsmoothed > 0.02) & (unsmoothed < 0.98)).any(1).mean() > 0.5


def test_cutmix_exchanges_one_rectangle():
    images, labels = batch(200)
    before = images.copy()
    Mixing(cutmix=1.0)(images, labels, K, rngs())
    for pair in range(100):
        first, second = images[2 * pair], images[2 * pair + 1]
        exchanged = (first == before[2 * pair + 1]).all(0)
        assert ((first == before[2 * pair]).all(0) == ~exchanged).all()
        np.testing.assert_array_equal(second, np.where(exchanged, before[2 * pair], before[2 * pair + 1]))
        assert (exchanged == exchanged.any(1)[:, None] & exchanged.any(0)).all()


@pytest.mark.parametrize("switch_prob", [0.0, 0.3, 1.0])
def test_switching(switch_prob):
    n = 4000
    labels, images = own_colours(n, 8)
    Mixing(0.8, 1.0, switch_prob)(images, labels, K, rngs())
    blended = ((images > 0) & (images < 1)).any((1, 2, 3))[0::2]  # cutmix leaves pixels as they are
    pure = (np.arange(0, n, 2) % K < 3) | (np.arange(1, n, 2) % K < 3)  # a colour shows the blending
    share = blended[pure].mean()
    assert abs(share - (1 - switch_prob)) < 0.04


@pytest.mark.parametrize("alpha", [0.2, 0.8, 3.0])
def test_weights_are_beta_distributed(alpha):
    n = 8000
    images = np.zeros((n, 1, 1, 1), np.float32)
    images[0::2] = 1
    Mixing(alpha)(images, np.zeros(n, np.int32), K, rngs())
    weights = images[0::2].ravel().astype(float)
    assert abs(weights.mean() - 0.5) < 0.02
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(weights.var() / variance - 1) < 0.06
    np.testing.assert_allclose(images[1::2].ravel(), 1 - weights, atol=1e-6)


def test_rectangles():
    """Sides in proportion to the image, area about the share asked for, centres everywhere, cut off at the borders."""
    rng = np.random.default_rng(0)
    height, width = 100, 200
    found = [random_rectangle(height, width, 0.25, rng) for _ in range(4000)]
    rows, columns = (np.array([(s[axis].start, s[axis].stop) for s in found]) for axis in (0, 1))
    for spans, side in ((rows, height), (columns, width)):
        assert spans.min() == 0 and spans.max() == side
        lengths = spans[:, 1] - spans[:, 0]
        whole = (spans[:, 0] > 0) & (spans[:, 1] < side)
        assert set(lengths[whole]) == {side // 2}
        assert abs(whole.mean() - 0.5) < 0.04  # the centre is at least a quarter away from both borders
        assert lengths.min() >= side // 4
        centres = np.sort(spans[whole].mean(1))
        assert np.abs((centres - side / 4) / (side / 2) - (np.arange(len(centres)) + 0.5) / len(centres)).max() < 0.04
    rows, columns = random_rectangle(10, 10, 0.0, rng)
    assert rows.stop == rows.start and columns.stop == columns.start


def test_ranks_together_mix_as_one():
    mixing = Mixing(0.4, 1.0, label_smoothing=0.1)
    images, labels = batch(24)
    together = images.copy()
    targets = mixing(together, labels, K, rngs())
    for start in (0, 8, 16):
        part = images[start : start + 8].copy()
        part_targets = mixing(part, labels[start : start + 8], K, rngs(first=start // 2))
        np.testing.assert_array_equal(part, together[start : start + 8])
        np.testing.assert_array_equal(part_targets, targets[start : start + 8])


@pytest.mark.parametrize(
    "values, message",
    [
        ((-0.1,), "mixup"),
        ((float("nan"),), "mixup"),
        ((0, -1), "cutmix"),
        ((0.8, 1.0, 1.5), "mixup_switch_prob"),
        ((0, 0, 0.5, 1.0), "label_smoothing"),
        ((0, 0, 0.5, -0.1), "label_smoothing"),
    ],
)
def test_bad_values(values, message):
    with pytest.raises(UserError, match=f"^{message} must be"):
        Mixing(*values)


def test_mixup_blends_and_cutmix_exchanges():
    """Each by its own parameter: after mixup alone no pixel of a pair is what it was, after cutmix alone all are."""
    for mixing, whole in ((Mixing(mixup=1.0), False), (Mixing(cutmix=1.0), True)):
        images, labels = batch(40)
        before = images.copy()
        mixing(images, labels, K, rngs())
        partner = before.reshape(20, 2, 3, 4, 4)[:, ::-1].reshape(before.shape)
        kept = (images == before).all(1) | (images == partner).all(1)
        assert kept.mean() == 1 if whole else kept.mean() < 0.1


def test_the_parameters_of_mixup_and_cutmix_are_their_own():
    """Beta(0.001, 0.001) is nearly always 0 or 1, Beta(500, 500) nearly always a half."""
    for mixing, halves in (
        (Mixing(500.0, 0.001, 0.0), True),
        (Mixing(0.001, 500.0, 0.0), False),
        (Mixing(0.001, 500.0, 1.0), True),
    ):
        labels, images = own_colours(200, 20)
        largest = mixing(images, labels, K, rngs()).max(1)
        assert (np.median(largest) < 0.8) == halves, mixing
