"""From the pixels of one image to the network's input."""

import math
from dataclasses import asdict, dataclass, fields
from functools import cached_property

import numpy as np
from PIL import Image

from neonext_ms.errors import UserError

INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
RANDOM_CROPS = ("none", "pad", "resized")


@dataclass(frozen=True)
class Preprocess:
    """What evaluation and serving do to an image; checkpoints and exported models carry it.

    The short side is resized to floor(image_size / crop_pct), the centre image_size x image_size square is cut out,
    and each channel becomes (value / 255 - mean) / std.

    Args:
        image_size: side S of the output in pixels.
        mean, std: RGB, for values in 0..1.
        crop_pct: share of the resized short side that the crop keeps, in (0, 1].
        interpolation: bilinear, bicubic or lanczos, all with anti-aliasing.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_pct: float = 1.0
    interpolation: str = "bicubic"

    def __post_init__(self):
        object.__setattr__(self, "mean", _three_numbers("mean", self.mean))
        object.__setattr__(self, "std", _three_numbers("std", self.std))
        if isinstance(self.image_size, bool) or not isinstance(self.image_size, int) or self.image_size < 1:
            raise UserError(f"image_size must be a positive whole number, got {self.image_size!r}")
        if min(self.std) <= 0:
            raise UserError(f"std must be positive, got {self.std}")
        if not 0 < self.crop_pct <= 1:
            raise UserError(f"crop_pct must be in (0, 1], got {self.crop_pct}")
        if self.interpolation not in INTERPOLATIONS:
            raise UserError(f"unknown interpolation '{self.interpolation}'; known: {', '.join(INTERPOLATIONS)}")

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """image: (H, W, 3) uint8 -> (3, S, S) float32."""
        return self.normalise(self.centre(image))

    def centre(self, image: np.ndarray) -> np.ndarray:
        """Resize and centre crop: (H, W, 3) uint8 -> (S, S, 3) uint8."""
        height, width = image.shape[:2]
        short = math.floor(self.image_size / self.crop_pct)
        if height <= width:
            resized = short, int(short * width / height)
        else:
            resized = int(short * height / width), short
        top, left = (round((side - self.image_size) / 2) for side in resized)
        down, across = height / resized[0], width / resized[1]
        side = self.image_size
        return self.resize(image, (left * across, top * down, (left + side) * across, (top + side) * down))

    def resize(self, image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
        """The box (left, top, right, bottom; pixels, may be fractional) of an image, resized: (S, S, 3) uint8.

        Only the pixels that are kept get computed. The values are those of resizing the whole image, then cropping, but
        for the rounding between Pillow's two passes, whose order it chooses by size.
        """
        side = self.image_size
        if image.shape[:2] == (side, side) and box == (0, 0, side, side):
            return image
        resized = Image.fromarray(image).resize((side, side), INTERPOLATIONS[self.interpolation], box)
        return np.asarray(resized)

    def normalise(self, image: np.ndarray) -> np.ndarray:
        """(S, S, 3) uint8 -> (3, S, S) float32, contiguous."""
        scale, offset = self._scale_and_offset
        out = np.multiply(image.transpose(2, 0, 1), scale, dtype=np.float32, order="C")
        out += offset
        return out

    @cached_property
    def _scale_and_offset(self) -> tuple[np.ndarray, np.ndarray]:
        """(value / 255 - mean) / std = value * scale + offset; both (3, 1, 1) float32."""
        mean, std = (np.array(v).reshape(3, 1, 1) for v in (self.mean, self.std))
        return (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)

    def to_dict(self) -> dict:
        """Plain values for JSON; `from_dict` reads them back."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: dict) -> "Preprocess":
        known = {field.name for field in fields(cls)}
        if set(values) != known:
            raise UserError(f"preprocess must have the keys {sorted(known)}, got {sorted(values)}")
        return cls(**values)


def _three_numbers(name: str, value) -> tuple[float, float, float]:
    numbers = value if isinstance(value, tuple | list) else ()
    if len(numbers) != 3 or not all(isinstance(v, int | float) and math.isfinite(v) for v in numbers):
        raise UserError(f"{name} must be three numbers, got {value!r}")
    return tuple(float(v) for v in numbers)


@dataclass(frozen=True)
class TrainTransform:
    """Random crop and flip on 8-bit pixels, then the normalisation of `preprocess`.

    Args:
        preprocess: size, interpolation and normalisation.
        random_crop: "none": as in evaluation; "pad": as in evaluation, then a black border of crop_padding pixels and
            a random S x S cut (usual for CIFAR); "resized": a random part of the image, resized (usual for ImageNet).
        crop_padding: pixels, for "pad".
        scale, ratio: least and greatest share of the area and aspect ratio (width / height), for "resized".
        hflip: probability of a horizontal flip.
    """

    preprocess: Preprocess
    random_crop: str = "none"
    crop_padding: int = 4
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    hflip: float = 0.5

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

    @property
    def image_size(self) -> int:
        return self.preprocess.image_size

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """image: (H, W, 3) uint8 -> (3, S, S) float32."""
        if self.random_crop == "resized":
            image = self.preprocess.resize(image, random_box(*image.shape[:2], self.scale, self.ratio, rng))
        else:
            image = self.preprocess.centre(image)
            if self.random_crop == "pad":
                image = shift(image, *rng.integers(-self.crop_padding, self.crop_padding + 1, 2))
        if rng.random() < self.hflip:
            image = image[:, ::-1]
        return self.preprocess.normalise(image)


def shift(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """The image moved by whole pixels, black where nothing is left; the same as padding and cropping."""
    height, width = image.shape[:2]
    down, right = max(-height, min(down, height)), max(-width, min(right, width))
    moved = np.zeros_like(image)
    moved[max(down, 0) : height + down, max(right, 0) : width + right] = image[
        max(-down, 0) : height - down, max(-right, 0) : width - right
    ]
    return moved


def random_box(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Box (left, top, right, bottom) whose share of the area and log aspect ratio are uniform (Inception's crop).

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
