"""What evaluation and serving do to an image."""

import math
from dataclasses import asdict, dataclass, fields
from functools import cached_property

import numpy as np
from PIL import Image

from neonext_ms.checks import whole_number
from neonext_ms.data.channels import Picture, picture, with_channels
from neonext_ms.errors import UserError

INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels, may be fractional


@dataclass(frozen=True)
class Preprocess:
    """What evaluation and serving do to an image; checkpoints and exported models carry it.

    The short side is resized to floor(image_size / crop_pct), the centre image_size x image_size square is cut out,
    and each of C channels becomes (value / 255 - mean) / std. With C = 1 colour is taken in grey, with C = 3 grey is
    repeated.

    Args:
        image_size: side S of the output in pixels.
        mean, std: C numbers each, RGB for C = 3, for values in 0..1.
        crop_pct: share of the resized short side that the crop keeps, in (0, 1].
        interpolation: bilinear, bicubic or lanczos, all with anti-aliasing.
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float = 1.0
    interpolation: str = "bicubic"

    def __post_init__(self):
        object.__setattr__(self, "mean", _numbers("mean", self.mean))
        object.__setattr__(self, "std", _numbers("std", self.std))
        object.__setattr__(self, "image_size", whole_number("image_size", self.image_size, 1))
        if len(self.mean) != len(self.std):
            raise UserError(f"mean and std must have a number for each channel, got {self.mean} and {self.std}")
        if min(self.std) <= 0:
            raise UserError(f"std must be positive, got {self.std}")
        if not 0 < self.crop_pct <= 1:
            raise UserError(f"crop_pct must be in (0, 1], got {self.crop_pct}")
        if self.interpolation not in INTERPOLATIONS:
            raise UserError(f"unknown interpolation {self.interpolation!r:.60}; known: {', '.join(INTERPOLATIONS)}")

    @property
    def channels(self) -> int:
        """C of the network's input."""
        return len(self.mean)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """image: (H, W, C) uint8, or (H, W, 3) and (H, W, 1) in place of one another -> (C, S, S) float32."""
        return self.normalise(self.resize(picture(image), self.centre_box(*image.shape[:2])))

    def centre_box(self, height: int, width: int) -> Box:
        """The part of an image that becomes the S x S output when the short side is resized and the centre cut out."""
        short = math.floor(self.image_size / self.crop_pct)
        if height <= width:
            resized = short, int(short * width / height)
        else:
            resized = int(short * height / width), short
        top, left = (round((side - self.image_size) / 2) for side in resized)
        down, across = height / resized[0], width / resized[1]
        side = self.image_size
        return left * across, top * down, (left + side) * across, (top + side) * down

    def resize(self, image: Picture, box: Box) -> Picture:
        """The box of an image, resized to S x S, in the network's channels.

        Only the pixels that are kept get computed. The values are those of resizing the whole image, then cropping, but
        for the rounding between Pillow's two passes, whose order it chooses by size.
        """
        image, side = with_channels(image, self.channels), self.image_size
        if image.size == (side, side) and box == (0, 0, side, side):
            return image
        return image.resize((side, side), INTERPOLATIONS[self.interpolation], box)

    def normalise(self, image: Picture, out: np.ndarray | None = None) -> np.ndarray:
        """S x S of C channels -> (C, S, S) float32, contiguous; written to out if that is given."""
        if out is None:
            out = np.empty((self.channels, image.height, image.width), np.float32)
        for channel, plane, scale, offset in zip(out, image.split(), *self._scale_and_offset):
            np.multiply(np.asarray(plane), scale, out=channel)
            channel += offset
        return out

    @cached_property
    def _scale_and_offset(self) -> tuple[np.ndarray, np.ndarray]:
        """(value / 255 - mean) / std = value * scale + offset; both (C,) float32."""
        mean, std = np.array(self.mean), np.array(self.std)
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


def _numbers(name: str, value) -> tuple[float, ...]:
    numbers = value if isinstance(value, tuple | list) else ()
    if not numbers or not all(isinstance(v, int | float) and math.isfinite(v) for v in numbers):
        raise UserError(f"{name} must be numbers, one for each channel, got {value!r}")
    return tuple(float(v) for v in numbers)
