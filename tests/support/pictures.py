"""Pictures in memory: as files, and read as inference and as training read them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from neonext_ms.data import read_image
from neonext_ms.data.decode import read_region

COARSE = Image.fromarray(np.random.RandomState(0).randint(0, 256, (6, 8, 3)).astype(np.uint8))
PICTURE = COARSE.resize((64, 48), Image.BICUBIC)
PIXELS = np.asarray(PICTURE)
DEEP = np.random.RandomState(2).randint(0, 4096, (20, 30)).astype(np.uint16)


def encoded(form, picture=PICTURE, **options):
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def both(data):
    """The pixels as inference and as training read them, which must be the same."""
    pixels = read_image(io.BytesIO(data), "x")
    image, _ = read_region(io.BytesIO(data), "x", lambda height, width: (0, 0, width, height), 64)
    np.testing.assert_array_equal(np.asarray(image), pixels)
    return pixels


def chunk(kind, body, checksum=None):
    checksum = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)
