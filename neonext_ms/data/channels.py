"""Images of one channel, of three, and of any other number: what the pipeline uses of a Pillow image."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from neonext_ms.errors import UserError

RGB = 3


class Bands:
    """An image of neither one nor three channels, with as much of Pillow's interface as cropping and resizing need.

    Args:
        bands: a grey image for each channel, all of one size.
    """

    def __init__(self, bands: Sequence[Image.Image]):
        self.bands = tuple(bands)
        self.size = self.width, self.height = self.bands[0].size

    def split(self) -> tuple[Image.Image, ...]:
        return self.bands

    def resize(self, *arguments) -> "Bands":
        return Bands(band.resize(*arguments) for band in self.bands)

    def crop(self, *arguments) -> "Bands":
        return Bands(band.crop(*arguments) for band in self.bands)

    def transpose(self, *arguments) -> "Bands":
        return Bands(band.transpose(*arguments) for band in self.bands)


Picture = Image.Image | Bands


def picture(pixels: np.ndarray) -> Picture:
    """(H, W, C) uint8 as what the pipeline works on: Pillow's images of the modes L and RGB for C = 1 and 3."""
    channels = pixels.shape[2]
    if channels == RGB:
        return Image.fromarray(pixels)
    bands = [Image.fromarray(np.ascontiguousarray(pixels[..., c])) for c in range(channels)]
    return bands[0] if channels == 1 else Bands(bands)


def with_channels(image: Picture, channels: int) -> Picture:
    """The same image in so many channels: RGB becomes grey, and grey RGB of three equal channels.

    Raises:
        UserError: any other change, which would be a guess.
    """
    bands = len(image.bands) if isinstance(image, Bands) else len(image.getbands())
    if bands == channels:
        return image
    if {bands, channels} == {1, RGB}:
        return image.convert("L" if channels == 1 else "RGB")
    raise UserError(f"the network takes images of {channels} channels, got one of {bands}")


def to_show(pixels: np.ndarray) -> Image.Image:
    """(H, W, C) uint8 as RGB for a page: grey repeated, the first of two channels, the first three of more."""
    shown = pixels[..., :3] if pixels.shape[2] >= RGB else pixels[..., :1]
    return with_channels(picture(shown), RGB)


def for_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Means or deviations of some channels for another number of them: their mean for one, else in turn."""
    if channels == 1:
        return (sum(values) / len(values),)
    return tuple(values[i % len(values)] for i in range(channels))
