"""RandAugment against its operations written out in NumPy, and its draws against their distribution."""

import numpy as np
import pytest
from PIL import Image

from neonext_ms.data import RandAugment
from neonext_ms.data.rand_augment import OPERATIONS, Style
from neonext_ms.errors import UserError

FILL = (124, 116, 104)
STYLE = Style(FILL, Image.Resampling.BICUBIC)
LEVELS = (0.0, 0.13, 0.5, 0.777, 0.9, 1.0)


def picture(height=24, width=30, seed=0):
    """A smooth random picture without pure black and white: (height, width, 3) uint8."""
    coarse = np.random.RandomState(seed).randint(20, 230, (6, 7, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.BICUBIC))


def luma(pixels):
    return np.floor(pixels @ [0.299, 0.587, 0.114] + 0.5)


def mixed(base, pixels, factor):
    return np.clip(base + factor * (pixels - base), 0, 255)


def smooth(pixels):
    """3 x 3 mean with a centre of weight 5; the border is left alone."""
    kernel = np.ones((3, 3))
    kernel[1, 1] = 5
    out = pixels.copy()
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (3, 3), axis=(0, 1))
    out[1:-1, 1:-1] = np.floor((windows * kernel).sum((-1, -2)) / 13 + 0.5)
    return out


def cubic(distance):
    """The cubic kernel with a = -1, which Pillow's geometric transforms use."""
    d = np.abs(distance)
    return np.where(d <= 1, d**3 - 2 * d**2 + 1, np.where(d < 2, -(d**3) + 5 * d**2 - 8 * d + 4, 0))


def warp(pixels, a, b, c, d, e, f):
    """out(x, y) = in(a x + b y + c, d x + e y + f), positions of pixel centres; bicubic, and FILL from outside."""
    height, width = pixels.shape[:2]
    y, x = np.mgrid[:height, :width] + 0.5
    u, v = a * x + b * y + c, d * x + e * y + f
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    u, v = u - 0.5, v - 0.5
    out = np.zeros(pixels.shape)
    for j in range(-1, 3):
        for i in range(-1, 3):
            column, row = np.floor(u) + i, np.floor(v) + j
            weight = cubic(u - column) * cubic(v - row)
            values = pixels[row.clip(0, height - 1).astype(int), column.clip(0, width - 1).astype(int)]
            out += weight[..., None] * values
    return np.where(inside[..., None], np.clip(out, 0, 255), FILL)


def translated(pixels, shift, axis):
    """out(x) = in(x + shift) where all of the pixel is in view, and FILL elsewhere; cubic kernel with a = -1/2."""
    side = pixels.shape[1 - axis]
    source = np.arange(side) + shift
    d = np.abs(source[:, None] - np.arange(side))
    weights = np.where(d <= 1, 1.5 * d**3 - 2.5 * d**2 + 1, np.where(d < 2, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2, 0))
    visible = (source >= -1e-9) & (source <= side - 1 + 1e-9)
    weights[visible] /= weights[visible].sum(1, keepdims=True)  # at the border only what is inside counts
    lines = np.moveaxis(pixels, 1 - axis, 0)
    out = np.where(visible[:, None, None], np.clip(np.tensordot(weights, lines, 1), 0, 255), FILL)
    return np.moveaxis(out, 0, 1 - axis)


def rotated(pixels, degrees):
    height, width = pixels.shape[:2]
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    x, y = width / 2, height / 2
    return warp(pixels, cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y)


def autocontrast(pixels):
    low, high = pixels.min((0, 1)), pixels.max((0, 1))
    return (pixels - low) * 255 / (high - low)


def equalize(pixels):
    out = np.empty_like(pixels)
    for channel in range(3):
        counts = np.bincount(pixels[..., channel].astype(int).ravel(), minlength=256)
        step = (counts.sum() - counts[counts > 0][-1]) // 255
        table = (step // 2 + np.concatenate([[0], np.cumsum(counts)[:-1]])) // step
        out[..., channel] = np.minimum(table, 255)[pixels[..., channel].astype(int)]
    return out


def posterized(pixels, bits):
    return np.floor(pixels / 2 ** (8 - bits)) * 2 ** (8 - bits)


def solarized(pixels, threshold):
    return np.where(pixels < threshold, pixels, 255 - pixels)


# strength t in 0..1 and sign s -> pixels, for every operation; timm's magnitudes are 10 t
REFERENCE = {
    "AutoContrast": lambda p, t, s: autocontrast(p),
    "Equalize": lambda p, t, s: equalize(p),
    "Invert": lambda p, t, s: 255 - p,
    "Rotate": lambda p, t, s: rotated(p, s * 30 * t),
    "SolarizeAdd": lambda p, t, s: np.where(p < 128, p + int(110 * t), p),
    "ShearX": lambda p, t, s: warp(p, 1, s * 0.3 * t, 0, 0, 1, 0),
    "ShearY": lambda p, t, s: warp(p, 1, 0, 0, s * 0.3 * t, 1, 0),
    "TranslateX": lambda p, t, s: translated(p, s * 0.45 * t * p.shape[1], 0),
    "TranslateY": lambda p, t, s: translated(p, s * 0.45 * t * p.shape[0], 1),
}
INCREASING = {
    "Posterize": lambda p, t, s: posterized(p, 4 - int(4 * t)),
    "Solarize": lambda p, t, s: solarized(p, 256 - int(256 * t)),
    "Color": lambda p, t, s: mixed(luma(p)[..., None], p, 1 + s * 0.9 * t),
    "Contrast": lambda p, t, s: mixed(np.floor(luma(p).mean() + 0.5), p, 1 + s * 0.9 * t),
    "Brightness": lambda p, t, s: mixed(0, p, 1 + s * 0.9 * t),
    "Sharpness": lambda p, t, s: mixed(smooth(p), p, 1 + s * 0.9 * t),
}
ORIGINAL = {
    "Posterize": lambda p, t, s: posterized(p, int(4 * t)),
    "Solarize": lambda p, t, s: solarized(p, int(256 * t)),
    "Color": lambda p, t, s: mixed(luma(p)[..., None], p, 0.1 + 1.8 * t),
    "Contrast": lambda p, t, s: mixed(np.floor(luma(p).mean() + 0.5), p, 0.1 + 1.8 * t),
    "Brightness": lambda p, t, s: mixed(0, p, 0.1 + 1.8 * t),
    "Sharpness": lambda p, t, s: mixed(smooth(p), p, 0.1 + 1.8 * t),
}
SIGNED = {"Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"}
ENHANCEMENTS = {"Color", "Contrast", "Brightness", "Sharpness"}


@pytest.mark.parametrize("inc", [True, False])
def test_operations_and_magnitudes(inc):
    references = {**REFERENCE, **(INCREASING if inc else ORIGINAL)}
    assert OPERATIONS[inc].keys() == references.keys() and len(references) == 15
    pixels = picture()
    for name, operation in OPERATIONS[inc].items():
        assert operation.signed == (name in SIGNED or (inc and name in ENHANCEMENTS)), name
        for strength in LEVELS:
            for sign in (1, -1) if operation.signed else (1,):
                value = sign * operation.value(strength)
                out = np.asarray(operation.apply(Image.fromarray(pixels), value, STYLE))
                expected = references[name](pixels.astype(float), strength, sign)
                differs = np.abs(out - expected) > 1.01  # Pillow cuts off where NumPy keeps fractions
                assert differs.mean() < 0.01, (name, strength, sign)  # positions on the very border fall either way


@pytest.mark.parametrize("n", [1, 2])
def test_operations_are_drawn_evenly_and_applied_half_of_the_time(n):
    """With a fixed magnitude every outcome is known: count how often each comes."""
    image = Image.fromarray(picture(16, 18))
    outcomes = {}
    for operation in OPERATIONS[True].values():
        for sign in (1, -1) if operation.signed else (1,):
            out = operation.apply(image, sign * operation.value(0.7), STYLE).tobytes()
            outcomes[out] = outcomes.get(out, 0) + (1 / 30 if not operation.signed else 1 / 60)
    assert len(outcomes) == 15 + 9
    augment, rng = RandAugment(n=n, m=7, inc=True), np.random.default_rng(0)
    results = [augment(image, rng, STYLE).tobytes() for _ in range(6000)]
    unchanged = results.count(image.tobytes()) / 6000
    assert abs(unchanged - 0.5**n) < 0.02  # 3 standard deviations
    for out, probability in outcomes.items():
        expected = 6000 * probability  # also for two: first or second, and the other one left out, is 2 * 1/2
        assert abs(results.count(out) - expected) < 4.5 * expected**0.5 + 20 * (n - 1)  # two may also come to the same


def test_magnitudes_are_normal_and_clipped():
    augment, rng = RandAugment.parse("rand-m9-mstd0.5-inc1"), np.random.default_rng(0)
    strengths = np.array([augment._strength(rng) for _ in range(20000)])
    assert strengths.max() == 1 and strengths.min() > 0.6
    assert abs((strengths == 1).mean() - 0.02275) < 0.004  # beyond two standard deviations
    assert abs(np.median(strengths) - 0.9) < 0.002
    assert abs((strengths < 0.85).mean() - 0.1587) < 0.01
    assert {RandAugment(m=9)._strength(rng) for _ in range(10)} == {0.9}


def test_notation():
    assert RandAugment.parse("rand-m9-mstd0.5-inc1") == RandAugment(n=2, m=9, mstd=0.5, inc=True)
    assert RandAugment.parse("rand-inc0-n3-m7.5") == RandAugment(n=3, m=7.5)
    assert RandAugment.parse("rand") == RandAugment(n=2, m=10, mstd=0, inc=False)


@pytest.mark.parametrize(
    "policy",
    ["", "randm9", "augmix-m5", "rand-m9-m8", "rand-x3", "rand-m", "rand-inc2", "rand-n2.5", "rand--m9", "rand-w0"],
)
def test_bad_notation(policy):
    with pytest.raises(UserError, match="^auto_augment must be like rand-m9-mstd0.5-inc1 .*, got '"):
        RandAugment.parse(policy)


@pytest.mark.parametrize("policy", ["rand-m11", "rand-n0"])
def test_values_out_of_range(policy):
    with pytest.raises(UserError, match="^RandAugment needs n of at least 1, m in 0..10"):
        RandAugment.parse(policy)
