"""Images of 16 bits a channel, to 8: by the bits that the file says it uses, else by the upper ones."""

import re
import sys
import warnings
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from neonext_ms.data.repair import PNG

DARK_BITS = 14  # pixels that use no more show at a quarter of their brightness, or less
_TIFF_BITS, _TIFF_MOST, _TIFF_SIGNED_MOST = 258, 281, 341  # BitsPerSample, MaxSampleValue, SMaxSampleValue
_TIFF_PLANES = 284  # PlanarConfiguration, 2: the channels lie one after the other
_GREY_AND_ALPHA = "LA;16B"
# Pillow unpacks the upper bytes of colours. In the other order of bytes these are the lower ones.
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


class ImageWarning(UserWarning):
    """What somebody who uses an image's pixels should know of them."""


class Deep(NamedTuple):
    """What a file says of its pixels.

    Attributes:
        bits: how many of 16 it uses, the lower ones; None if it says nothing.
        is_png: by whose standard fewer bits stand at the upper end, which leaves the lower ones empty.
        is_grey: Pillow has all of its bits; of colours only the upper eight.
    """

    bits: int | None
    is_png: bool
    is_grey: bool


def described(image: Image.Image) -> Deep | None:
    """Of an image that is not loaded yet; None if it has not 16 bits a channel.

    Raises:
        ValueError: Pillow would read something else than its pixels.
    """
    is_grey = image.mode == "I" or image.mode.startswith("I;16")
    if not is_grey and not any(";16" in rawmode for rawmode in map(_rawmode, getattr(image, "tile", ()))):
        if image.format == "TIFF" and max(image.tag_v2.get(_TIFF_BITS, ())) == 16 and image.tile[0][0] == "raw":
            raise ValueError("16-bit channels that lie one after another are not read: save them side by side")
        return None
    return Deep(_bits(image), image.format == "PNG", is_grey)


def eight_bits(image: Image.Image, about: Deep, name: str, low_bytes: Callable[[], np.ndarray | None]) -> Image.Image:
    """The same image with 8 bits a channel.

    Args:
        image: loaded.
        about: what its file says.
        name: of the file, for messages.
        low_bytes: reads those of a colour image, shaped like it; None if that cannot be done. Seldom called.
    """
    if about.is_grey:
        deep = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(_scaled(deep, deep, about, name))
    high = np.asarray(image)
    if int(high[..., :3].max(initial=0)) >> (about.bits or DARK_BITS) - 8:
        return image
    low = low_bytes()
    deep = high.astype(np.int64) << 8 | (0 if low is None else low)
    return Image.fromarray(_scaled(deep, deep[..., :3], about, name), image.mode)


def low_bytes(image: Image.Image) -> np.ndarray | None:
    """Of a colour image that is not loaded yet."""
    rawmode = _rawmode(image.tile[0])
    if image.format == "TIFF" and image.tag_v2.get(_TIFF_PLANES) == 2:
        return None
    if rawmode == _GREY_AND_ALPHA:  # four bytes
        _unpack(image, image.mode)
        return np.asarray(image)[..., [1, 1, 1, 3]]
    if not re.search(";16[BLN]$", rawmode):
        return None
    _unpack(image, rawmode[:-1] + _OTHER_ORDER[rawmode[-1]])
    return np.asarray(image)


def _unpack(image: Image.Image, rawmode: str):
    image.tile = [
        tile._replace(args=rawmode if isinstance(tile.args, str) else (rawmode, *tile.args[1:])) for tile in image.tile
    ]
    image.load()


def _rawmode(tile) -> str:
    arguments = tile[3]
    mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return mode if isinstance(mode, str) else ""


def _scaled(deep: np.ndarray, colours: np.ndarray, about: Deep, name: str) -> np.ndarray:
    """The upper eight of the bits that are used; Pillow's own conversion would clip everything above 255 to white.

    colours: of `deep`, its channels without transparency.
    """
    used, bits = int(colours.max(initial=0)).bit_length(), about.bits
    if bits and used <= bits and (not about.is_png or (colours & ((1 << 16 - bits) - 1)).any()):
        out = (deep >> bits - 8).astype(np.uint8)
        if deep.ndim == 3 and int(deep[..., 3:].max(initial=0)) >> bits:
            out[..., 3:] = deep[..., 3:] >> 8  # the transparency has all 16
        return out
    if 0 < used <= DARK_BITS:
        warnings.warn(
            ImageWarning(
                f"'{name}' has 16-bit pixels, of which only the lower {used} bits are used, and does not say so: it is "
                "read as nearly black; save it with 8 bits, or as PGM or PPM with its greatest value"
            ),
            stacklevel=5,
        )
    return (deep >> 8).astype(np.uint8)


def _bits(image: Image.Image) -> int | None:
    if image.format == "TIFF":
        most, bits = (_number(image.tag_v2.get(tag)) for tag in (_TIFF_MOST, _TIFF_BITS))
        most = most or _number(image.tag_v2.get(_TIFF_SIGNED_MOST))
        if most & (most + 1) == 0:  # else it is a statistic, and not a range
            bits = most.bit_length() or bits
    elif isinstance(image, PngImageFile):
        bits = _png_bits(image.fp)
    else:
        return None
    return bits if 8 <= bits < 16 else None


def _number(value) -> int:
    """A tag's first value; 0 if it is none."""
    value = value[0] if isinstance(value, tuple) and value else value
    return int(value) if isinstance(value, int | float) and 0 <= value < 1 << 32 else 0


def _png_bits(file: BinaryIO) -> int:
    """Of the chunk sBIT; the place in the file stays. 0 if there is none."""
    at = file.tell()
    try:
        file.seek(len(PNG))
        while len(head := file.read(8)) == 8 and (kind := head[4:]) != b"IDAT":
            length = int.from_bytes(head[:4], "big")
            if kind == b"sBIT":
                return max(file.read(length)[:4], default=0)
            file.seek(length + 4, 1)
        return 0
    finally:
        file.seek(at)
