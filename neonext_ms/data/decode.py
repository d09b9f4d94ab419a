"""Image files to RGB, by Pillow."""

import struct
import warnings
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile

from neonext_ms.data.deep import described, eight_bits, low_bytes
from neonext_ms.data.image_files import formats
from neonext_ms.data.preprocess import Box
from neonext_ms.data.repair import exif_orientation, repaired
from neonext_ms.errors import UserError
from neonext_ms.files import open_regular

JPEG_FORMATS = ("JPEG", "MPO")  # MPO: several JPEGs in one file, of which the first is taken
JPEG_SCALES = (8, 4, 2)  # a JPEG can be decoded at 1/8, 1/4 and 1/2 of its size, for less than decoding all of it
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's decoders raise on damaged files (by fuzzing them); others are mistakes of a program.
_DAMAGE = (
    *(
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        LookupError,
        ArithmeticError,
        RuntimeError,
        MemoryError,
        AssertionError,
    ),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)


class _Unreadable(Exception):
    """Why Pillow cannot read a file."""


def read_image(
    file: str | Path | BinaryIO, name: str | None = None, look: Callable[[Image.Image], None] | None = None
) -> np.ndarray:
    """Read an image file of any of `image_files.FORMATS`, whatever its name ends in.

    The orientation in the EXIF data is applied, transparency is laid over white, grey is repeated into three
    channels, 16-bit values keep their high byte (of the bits that the file says it uses), and of an animation the
    first frame is taken. Damage that leaves the pixels alone, as in texts, profiles or the end marker of a JPEG, is
    passed over. A JPEG of more pixels than Pillow takes for honest is read at a smaller scale.

    Args:
        file: a path, or a file that is open for reading bytes.
        name: of the file, for messages; its path if null.
        look: is shown the image as it is in the file.
    Returns: (H, W, 3) uint8, RGB.
    Raises: UserError, which names the file, when it is missing, truncated, not an image or too large to be honest.
    Warns: ImageWarning: 16-bit pixels that leave most of the bits unused, without saying so.
    """

    def take(image: Image.Image) -> Image.Image:
        if look:
            look(image)
        return _upright_rgb(image, name or str(file))

    return np.asarray(_read(file, name or str(file), take))


def pil_pixels(image: Image.Image, name: str) -> np.ndarray:
    """(H, W, 3) uint8, RGB, of an image that Pillow has made or opened: what `read_image` gives for its file."""
    try:
        return np.asarray(_upright_rgb(image, name))
    except _Unreadable as error:
        raise UserError(f"cannot read '{name}' as an image: {error}") from error.__cause__


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
    choose = cache(choose)  # a file that needs repair is taken twice

    def take(image: Image.Image) -> tuple[Image.Image, Box]:
        if image.format not in JPEG_FORMATS:
            image = _upright_rgb(image, name)
            return image, choose(image.height, image.width)
        width, height = image.size
        if _orientation(image) >= 5:  # lies on its side
            width, height = height, width
        box = choose(height, width)
        least = min(box[2] - box[0], box[3] - box[1])
        scale = next((scale for scale in JPEG_SCALES if least >= scale * side), 1)
        scale = max(scale, _honest_scale(image))
        if scale > 1:
            image.draft(None, (image.width // scale, image.height // scale))
            box = tuple(value / scale for value in box)
        return _upright_rgb(image, name), box

    return _read(file, name, take)


def _read(file, name: str, take: Callable):
    """What `take` makes of the image in a file, which is repaired where that leaves the pixels alone."""
    try:
        with open_regular(file) if isinstance(file, str | Path) else nullcontext(file) as stream:
            try:
                return take(_opened(stream))
            except _Unreadable as error:
                stream.seek(0)
                for data in repaired(stream, _pixels):
                    try:
                        return take(_opened(BytesIO(data)))
                    except _Unreadable:
                        pass
                raise UserError(f"cannot read '{name}' as an image: {error}") from error.__cause__
    except OSError as error:
        raise UserError(f"cannot read '{name}' as an image: {error.strerror}") from error


def _guarded(function: Callable, *arguments, **options):
    """Call Pillow, whose decoders raise some ten types on damaged files and warn of what does no harm."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*arguments, **options)
    except Image.UnidentifiedImageError as error:
        raise _Unreadable("not a format that Pillow knows, or cut short") from error
    except _DAMAGE as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise _Unreadable(reason) from error


def _opened(stream: BinaryIO) -> Image.Image:
    try:
        return _guarded(Image.open, stream, formats=formats())
    except _Unreadable as error:
        if not isinstance(error.__cause__, Image.DecompressionBombError):
            raise
        stream.seek(0)
        if stream.read(3) != b"\xff\xd8\xff":
            raise
        stream.seek(0)
        image = _guarded(JpegImageFile, stream)
        if image.info.get("progressive") or _honest_scale(image) not in JPEG_SCALES:
            raise  # a progressive one is held as a whole, at any scale
        return image


def _honest_scale(image: Image.Image) -> int:
    """The scale at which a JPEG has no more pixels than Pillow opens without suspicion; 1 for usual ones."""
    most = 2 * (Image.MAX_IMAGE_PIXELS or float("inf"))
    sizes = (scale for scale in (1, 2, 4, 8) if image.width * image.height <= most * scale**2)
    return next(sizes, 16)


def _pixels(data: bytes) -> bytes | None:
    """The pixels of a JPEG, as they are decoded; None if it is damaged."""
    try:
        image = _opened(BytesIO(data))
        _guarded(image.load)
    except _Unreadable:
        return None
    return image.tobytes()


def _orientation(image: Image.Image) -> int:
    """EXIF's number, 1 to 8, for how the image must be turned; 1, as it is, where nothing says so.

    Pillow, which finds it in more places, gives up on EXIF data of which any part is damaged.
    """
    exif = image.info.get("exif")
    value = exif_orientation(exif) if isinstance(exif, bytes) else None
    if value is None:
        try:
            value = _guarded(lambda: image.getexif().get(ExifTags.Base.Orientation))
        except (_Unreadable, TypeError, AttributeError):  # as it raises on values of another type than they should have
            return 1
    return int(value) if isinstance(value, int | float) and value in _UPRIGHT else 1


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    scale = _honest_scale(image)
    if scale > 1 and image.format in JPEG_FORMATS and not image.decoderconfig:
        image.draft(None, (image.width // scale, image.height // scale))
    deep, stream = _guarded(described, image), getattr(image, "fp", None)  # before loading, which drops both
    _guarded(image.load)
    orientation = _orientation(image)
    if deep:
        image = eight_bits(image, deep, name, lambda: _low_bytes(stream))
    if orientation != 1:
        image = image.transpose(_UPRIGHT[orientation])
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    return _guarded(_converted, image)


def _low_bytes(stream: BinaryIO | None) -> np.ndarray | None:
    """Of the colours in a file that is read for a second time."""
    try:
        if stream is None:
            return None
        stream.seek(0)
        return _guarded(low_bytes, _opened(stream))
    except (_Unreadable, ValueError):  # the latter of a file that is closed
        return None


def _converted(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined white; save it with 8 or 16 bits a channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
