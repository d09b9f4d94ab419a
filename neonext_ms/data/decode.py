"""Image files to RGB, by Pillow."""

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from neonext_ms.data.preprocess import Box
from neonext_ms.errors import UserError

JPEG_FORMATS = ("JPEG", "MPO")  # MPO: several JPEGs in one file, of which the first is taken
JPEG_SCALES = (8, 4, 2)  # a JPEG can be decoded at 1/8, 1/4 and 1/2 of its size, for less than decoding all of it


def read_image(file: str | Path | BinaryIO, name: str | None = None) -> np.ndarray:
    """Read an image file of any format that Pillow knows.

    The orientation in the EXIF data is applied, transparency is laid over white, grey is repeated into three
    channels, 16-bit values keep their high byte, and of an animation the first frame is taken.

    Args:
        file: a path, or a file that is open for reading bytes.
        name: of the file, for messages; its path if null.
    Returns: (H, W, 3) uint8, RGB.
    Raises: UserError, which names the file, when it is missing, truncated, not an image or too large to be honest.
    """
    with _opened(file, name or str(file)) as image:
        return np.asarray(_upright_rgb(image))


def read_region(
    file: str | Path | BinaryIO, name: str, choose: Callable[[int, int], Box], side: int
) -> tuple[Image.Image, Box]:
    """Read as much of an image file as resizing a box of it to side x side pixels needs.

    A JPEG is decoded at the smallest scale at which the box is no smaller than that.

    Args:
        file: a path, or a file that is open for reading bytes.
        name: of the file, for messages.
        choose: gives the box of an image of (height, width), EXIF orientation applied; called once.
        side: pixels.
    Returns: RGB image as `read_image` gives it, perhaps of smaller scale, and the box in its pixels.
    Raises: UserError, as `read_image`.
    """
    with _opened(file, name) as image:
        if image.format not in JPEG_FORMATS:
            image = _upright_rgb(image)
            return image, choose(image.height, image.width)
        width, height = image.size
        if image.getexif().get(ExifTags.Base.Orientation, 1) >= 5:  # lies on its side
            width, height = height, width
        box = choose(height, width)
        least = min(box[2] - box[0], box[3] - box[1])
        scale = next((scale for scale in JPEG_SCALES if least >= scale * side), 1)
        if scale > 1:
            image.draft(None, (image.width // scale, image.height // scale))
            box = tuple(value / scale for value in box)
        return _upright_rgb(image), box


@contextmanager
def _opened(file, name: str):
    try:
        with Image.open(file) as image:
            yield image
    except UnidentifiedImageError as error:
        raise UserError(f"cannot read '{name}' as an image: not a format that Pillow knows, or cut short") from error
    except Exception as error:  # Pillow's decoders raise some ten types on damaged files
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"cannot read '{name}' as an image: {reason}") from error


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow's own conversion would clip everything above 255 to white
        high_byte = np.clip(np.asarray(image).astype(np.int64), 0, 65535) >> 8
        image = Image.fromarray(high_byte.astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no defined white; save it with 8 or 16 bits a channel")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
