"""Augmentation of one training image."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageEnhance

from neonext_ms.data.channels import Picture, for_channels, picture, with_channels
from neonext_ms.data.erasing import RandomErasing
from neonext_ms.data.preprocess import INTERPOLATIONS, Box, Preprocess
from neonext_ms.data.rand_augment import RandAugment, Style
from neonext_ms.errors import UserError

RANDOM_CROPS = ("none", "pad", "resized")


@dataclass(frozen=True)
class TrainTransform:
    """Random crop, flip, colour jitter and RandAugment on 8-bit pixels, normalisation, random erasing; in this order.

    Args:
        preprocess: size, interpolation and normalisation.
        random_crop: "none": as in evaluation; "pad": as in evaluation, then a black border of crop_padding pixels and
            a random S x S cut (usual for CIFAR); "resized": a random part of the image, resized (usual for ImageNet).
        crop_padding: pixels, for "pad".
        scale, ratio: least and greatest share of the area and aspect ratio (width / height), for "resized".
        hflip: probability of a horizontal flip.
        color_jitter: brightness, contrast and saturation, in random order, are multiplied by factors drawn evenly from
            1 - color_jitter (at least 0) to 1 + color_jitter.
        auto_augment: a RandAugment policy such as "rand-m9-mstd0.5-inc1", see `RandAugment.parse`.
        erasing: RandomErasing.
    """

    preprocess: Preprocess
    random_crop: str = "none"
    crop_padding: int = 4
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    hflip: float = 0.5
    color_jitter: float = 0.0
    auto_augment: str | None = None
    erasing: RandomErasing = RandomErasing()

    def __post_init__(self):
        if self.random_crop not in RANDOM_CROPS:
            raise UserError(f"unknown random_crop '{self.random_crop}'; known: {', '.join(RANDOM_CROPS)}")
        if self.crop_padding < 0:
            raise UserError(f"crop_padding must be 0 or more pixels, got {self.crop_padding}")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise UserError(f"scale must be two rising numbers in (0, 1], got {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise UserError(f"ratio must be two rising positive numbers, got {self.ratio}")
        if not 0 <= self.hflip <= 1:
            raise UserError(f"hflip must be a probability, got {self.hflip}")
        if not 0 <= self.color_jitter < math.inf:
            raise UserError(f"color_jitter must be 0 or more, got {self.color_jitter}")
        if (self.color_jitter or self._rand_augment) and self.preprocess.channels not in (1, 3):
            raise UserError(
                f"color_jitter and auto_augment are for grey and RGB, not for {self.preprocess.channels} channels: use "
                "color_jitter=0 and auto_augment=null"
            )

    @property
    def image_size(self) -> int:
        return self.preprocess.image_size

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """image: (H, W, C) uint8 -> (C, S, S) float32."""
        box = self.box(*image.shape[:2], rng)
        return self.augment(picture(image), box, rng)

    def box(self, height: int, width: int, rng: np.random.Generator) -> Box:
        """The part of an image of this size that is resized to S x S."""
        if self.random_crop == "resized":
            return random_box(height, width, self.scale, self.ratio, rng)
        return self.preprocess.centre_box(height, width)

    def augment(self, image: Picture, box: Box, rng: np.random.Generator, out: np.ndarray | None = None) -> np.ndarray:
        """What follows the choice of the box: image -> (C, S, S) float32, written to out if that is given."""
        image = self.preprocess.resize(image, box)
        if self.random_crop == "pad":
            # beyond the image a Pillow crop is black
            down, right = (int(v) for v in rng.integers(-self.crop_padding, self.crop_padding + 1, 2))
            image = image.crop((-right, -down, image.width - right, image.height - down))
        if rng.random() < self.hflip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.color_jitter or self._rand_augment:
            # Grey goes through them as RGB of three equal channels, whose grey is again the same to the bit.
            image = with_channels(self._recolour(with_channels(image, 3), rng), self.preprocess.channels)
        out = self.preprocess.normalise(image, out)
        if self.erasing.prob:
            self.erasing(out, rng)
        return out

    def _recolour(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        if self.color_jitter:
            image = jitter_colours(image, self.color_jitter, rng)
        return self._rand_augment(image, rng, self._style) if self._rand_augment else image

    @cached_property
    def _rand_augment(self) -> RandAugment | None:
        return RandAugment.parse(self.auto_augment) if self.auto_augment else None

    @cached_property
    def _style(self) -> Style:
        fill = tuple(min(255, max(0, round(255 * v))) for v in for_channels(self.preprocess.mean, 3))
        # Pillow rotates and shears with bicubic at most
        name = "bilinear" if self.preprocess.interpolation == "bilinear" else "bicubic"
        return Style(fill, INTERPOLATIONS[name])


def jitter_colours(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast and saturation by random factors, see `TrainTransform`."""
    enhancers = ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color
    for choice in rng.permutation(3):
        image = enhancers[choice](image).enhance(rng.uniform(max(0, 1 - strength), 1 + strength))
    return image


def random_box(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> Box:
    """Box whose share of the area and log aspect ratio are uniform (Inception's crop), in whole pixels.

    Ten attempts to fit it into the image; then the largest centred box of an allowed ratio.
    """
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, max(1, round(height * aspect))), min(height, max(1, round(width / aspect)))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
