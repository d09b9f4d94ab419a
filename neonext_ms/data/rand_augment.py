"""RandAugment (https://arxiv.org/abs/1909.13719) with the operations and magnitudes of timm's `rand-...` policies."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from neonext_ms.data.shear import shear
from neonext_ms.errors import UserError

APPLIED = 0.5  # probability that a chosen operation is applied
GREATEST = 10  # magnitude at which an operation has its full strength


class Style(NamedTuple):
    """How the geometric operations draw: colour of what comes into view, and Pillow's resampling filter."""

    fill: tuple[int, int, int]
    resample: Image.Resampling


class Operation(NamedTuple):
    """apply(image, value, style) with value(strength), strength in 0..1; if signed, turned round half of the time.

    Magnitudes of "inc1" (increasing): every operation changes an image the more, the greater the strength.
    """

    apply: Callable[[Image.Image, float, Style], Image.Image]
    value: Callable[[float], float] = lambda strength: strength
    signed: bool = False


def _shear(image, slope, style, axis):
    return shear(image, slope, axis, style.resample, style.fill)


def _translate(image, share, style, axis):
    """Along x (axis 0) or y. A resize that keeps the size takes an eighth of the time of an affine transform."""
    side = image.size[axis]
    pixels = share * side
    first, last = max(0, math.ceil(-pixels)), min(side, math.floor(side - pixels))  # where the image is in view
    moved = Image.new(image.mode, image.size, style.fill)
    if first < last:
        size, box, place = list(image.size), [0, 0, *image.size], [0, 0]
        size[axis], box[axis], box[axis + 2], place[axis] = last - first, first + pixels, last + pixels, first
        moved.paste(image.resize(size, style.resample, box), tuple(place))
    return moved


def _rotate(image, degrees, style):
    return image.rotate(degrees, style.resample, fillcolor=style.fill)


def _solarize_add(image, add, style):
    return image.point([min(255, value + add) if value < 128 else value for value in range(256)] * 3)


def _enhance(enhancer):
    return lambda image, change, style: enhancer(image).enhance(1 + change)


_GEOMETRIC_AND_TONE = {
    "AutoContrast": Operation(lambda image, value, style: ImageOps.autocontrast(image)),
    "Equalize": Operation(lambda image, value, style: ImageOps.equalize(image)),
    "Invert": Operation(lambda image, value, style: ImageOps.invert(image)),
    "Rotate": Operation(_rotate, lambda strength: 30 * strength, signed=True),
    "SolarizeAdd": Operation(_solarize_add, lambda strength: int(110 * strength)),
    "ShearX": Operation(partial(_shear, axis=0), lambda strength: 0.3 * strength, signed=True),
    "ShearY": Operation(partial(_shear, axis=1), lambda strength: 0.3 * strength, signed=True),
    "TranslateX": Operation(partial(_translate, axis=0), lambda strength: 0.45 * strength, signed=True),
    "TranslateY": Operation(partial(_translate, axis=1), lambda strength: 0.45 * strength, signed=True),
}
_ENHANCERS = {
    "Color": ImageEnhance.Color,
    "Contrast": ImageEnhance.Contrast,
    "Brightness": ImageEnhance.Brightness,
    "Sharpness": ImageEnhance.Sharpness,
}


def _posterize(image, bits, style):
    kept = 256 - 2 ** (8 - bits)  # 0 bits, which Pillow's own function refuses, give a black image
    return image.point([value & kept for value in range(256)] * 3)


def _solarize(image, threshold, style):
    return ImageOps.solarize(image, threshold)


OPERATIONS: dict[bool, dict[str, Operation]] = {
    True: {
        **_GEOMETRIC_AND_TONE,
        "Posterize": Operation(_posterize, lambda strength: 4 - int(4 * strength)),
        "Solarize": Operation(_solarize, lambda strength: 256 - int(256 * strength)),
        **{name: Operation(_enhance(e), lambda strength: 0.9 * strength, True) for name, e in _ENHANCERS.items()},
    },
    # The scales of the first implementations, on which some operations are weakest at the greatest magnitude.
    False: {
        **_GEOMETRIC_AND_TONE,
        "Posterize": Operation(_posterize, lambda strength: int(4 * strength)),
        "Solarize": Operation(_solarize, lambda strength: int(256 * strength)),
        **{name: Operation(_enhance(e), lambda strength: 1.8 * strength - 0.9) for name, e in _ENHANCERS.items()},
    },
}


@dataclass(frozen=True)
class RandAugment:
    """n operations drawn evenly, with replacement, each applied with probability 0.5 at a magnitude of m out of 10.

    Args:
        n: operations drawn for an image.
        m: mean magnitude, 0..10.
        mstd: standard deviation of the magnitude, which is drawn anew for each operation and clipped to 0..10.
        inc: use the magnitudes that increase the change (see `OPERATIONS`).
    """

    n: int = 2
    m: float = 10
    mstd: float = 0.0
    inc: bool = False

    def __post_init__(self):
        if self.n < 1 or not 0 <= self.m <= GREATEST or not 0 <= self.mstd < float("inf"):
            raise UserError(f"RandAugment needs n of at least 1, m in 0..{GREATEST} and mstd of at least 0, got {self}")

    @classmethod
    def parse(cls, policy: str) -> "RandAugment":
        """From timm's notation: "rand" and, in any order, -m<magnitude>, -n<count>, -mstd<deviation>, -inc<0 or 1>."""
        name, *sections = policy.split("-")
        values = {}
        for section in sections:
            match = re.fullmatch(r"(mstd|m)(\d+(?:\.\d+)?)|(n)(\d+)|(inc)([01])", section)
            key, value = [group for group in match.groups() if group] if match else (None, None)
            if key is None or key in values:
                name = None
                break
            values[key] = float(value) if key in ("m", "mstd") else int(value)
        if name != "rand":
            raise UserError(f"auto_augment must be like rand-m9-mstd0.5-inc1 (parts m, n, mstd, inc), got '{policy}'")
        return cls(**{**values, "inc": bool(values.get("inc"))})

    def __call__(self, image: Image.Image, rng: np.random.Generator, style: Style) -> Image.Image:
        """RGB -> RGB of the same size."""
        operations = list(OPERATIONS[self.inc].values())
        for choice in rng.integers(len(operations), size=self.n):
            if rng.random() < APPLIED:
                operation = operations[choice]
                value = operation.value(self._strength(rng))
                if operation.signed and rng.random() < 0.5:
                    value = -value
                image = operation.apply(image, value, style)
        return image

    def _strength(self, rng: np.random.Generator) -> float:
        magnitude = rng.normal(self.m, self.mstd) if self.mstd else self.m
        return min(max(magnitude, 0), GREATEST) / GREATEST
