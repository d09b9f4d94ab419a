"""Image files to RGB arrays, by Pillow."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from neonext_ms.errors import UserError


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file of any format that Pillow knows.

    The orientation in the EXIF data is applied, transparency is laid over white, grey is repeated into three
    channels, 16-bit values keep their high byte, and of an animation the first frame is taken.

    Returns: (H, W, 3) uint8, RGB.
    Raises: UserError, which names the file, when it is missing, truncated, not an image or too large to be honest.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return np.asarray(_to_rgb(ImageOps.exif_transpose(image)))
    except UnidentifiedImageError as error:
        raise UserError(f"cannot read '{path}' as an image: not a format that Pillow knows, or cut short") from error
    except Exception as error:  # Pillow's decoders raise some ten types on damaged files
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"cannot read '{path}' as an image: {reason}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
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
