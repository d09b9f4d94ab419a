"""Images of more than 8 bits a channel: scaled by what the file says, and said to come out dark where it does not."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from neonext_ms.data import read_image
from neonext_ms.data.deep import ImageWarning
from neonext_ms.data.repair import PNG
from neonext_ms.errors import UserError
from tests.support.pictures import DEEP, both, chunk, encoded


def deep_png(values, bits=None):
    data = encoded("PNG", Image.fromarray(values))
    return data if bits is None else data[:33] + chunk(b"sBIT", bytes([bits])) + data[33:]


def pgm(values, most):
    return f"P5 {values.shape[1]} {values.shape[0]} {most}\n".encode() + values.astype(">u2").tobytes()


@pytest.mark.parametrize(
    "data",
    [
        deep_png(DEEP, 12),
        encoded("TIFF", Image.fromarray(DEEP), tiffinfo={281: 4095}),
        encoded("TIFF", Image.fromarray(DEEP), tiffinfo={341: 4095.0}),
    ],
)
def test_12_bits_in_16_are_scaled_by_what_the_file_says(data, recwarn):
    np.testing.assert_array_equal(both(data)[..., 0], DEEP >> 4)
    assert len(recwarn) == 0


def test_12_bits_of_a_pgm_and_of_a_packed_tiff(recwarn):
    np.testing.assert_allclose(both(pgm(DEEP, 4095))[..., 0].astype(int), DEEP >> 4, atol=1)
    packed = bytearray()
    for first, second in DEEP.reshape(-1, 2).tolist():
        packed += bytes([first >> 4, (first & 15) << 4 | second >> 8, second & 255])
    tags = [(256, 30), (257, 20), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 20), (279, len(packed))]
    body = b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + struct.pack("<H", len(tags))
    body += b"".join(struct.pack("<HHII", tag, 4 if tag > 270 else 3, 1, value) for tag, value in tags) + b"\0" * 4
    np.testing.assert_array_equal(both(bytes(body))[..., 0], DEEP >> 4)
    assert len(recwarn) == 0


def test_a_png_of_12_bits_that_follows_the_standard_keeps_its_brightness(recwarn):
    """Its bits are the upper ones, also where the picture is dark."""
    for values in (DEEP << 4, (DEEP & 15) << 4 | 0):
        np.testing.assert_array_equal(both(deep_png(values, 12))[..., 0], values >> 8)


@pytest.mark.parametrize("data, bits", [(deep_png(DEEP), 12), (deep_png(DEEP >> 2), 10), (deep_png(DEEP << 2), 14)])
def test_12_bits_in_16_without_a_word_are_said_to_come_out_dark(data, bits):
    with pytest.warns(ImageWarning, match=f"'x' has 16-bit pixels, of which only the lower {bits} bits are used"):
        read_image(io.BytesIO(data), "x")


def colour_png(values, bits=None, kind=2):
    """(H, W, channels) uint16."""
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    said = b"" if bits is None else chunk(b"sBIT", bytes([bits] * values.shape[2]))
    return PNG + chunk(b"IHDR", header) + said + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def colour_tiff(values, order, most=None, planar=1, packed=False):
    """(H, W, 3) uint16, in one strip or, with the channels one after another, three."""
    parts = [part.astype(f"{order}u2").tobytes() for part in ([values] if planar == 1 else values.transpose(2, 0, 1))]
    parts = list(map(zlib.compress, parts)) if packed else parts
    starts = np.cumsum([8, *map(len, parts)])[:-1].tolist()
    tags = {256: [values.shape[1]], 257: [values.shape[0]], 258: [16] * 3, 259: [8 if packed else 1], 262: [2]}
    tags |= {273: starts, 277: [3], 278: [values.shape[0]], 279: list(map(len, parts)), 284: [planar]}
    tags |= {281: [most] * 3} if most else {}
    body, lists = b"".join(parts), b""
    entries, at = struct.pack(f"{order}H", len(tags)), 8 + len(body) + 6 + 12 * len(tags)
    for tag, numbers in sorted(tags.items()):
        place = numbers[0] if len(numbers) == 1 else at + len(lists)
        entries += struct.pack(f"{order}HHII", tag, 4, len(numbers), place)
        lists += struct.pack(f"{order}3I", *numbers) if len(numbers) == 3 else b""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(body))
    return head + body + entries + bytes(4) + lists


COLOURS = np.random.RandomState(3).randint(0, 4096, (20, 30, 3)).astype(np.uint16)


def with_alpha(values, alpha):
    return np.dstack([values, np.full(values.shape[:2], alpha, np.uint16)])


@pytest.mark.parametrize(
    "data",
    [
        colour_png(COLOURS, 12),
        colour_png(with_alpha(COLOURS, 65535), 12, kind=6),
        colour_png(with_alpha(COLOURS, 4095), 12, kind=6),
        *(colour_tiff(COLOURS, order, 4095, packed=packed) for order in "<>" for packed in (False, True)),
    ],
)
def test_12_bits_of_colours_in_16_are_scaled_by_what_the_file_says(data, recwarn):
    np.testing.assert_array_equal(both(data), COLOURS >> 4)
    assert len(recwarn) == 0


@pytest.mark.parametrize(
    "data, bits",
    [
        (colour_png(COLOURS), 12),
        (colour_png(COLOURS >> 2), 10),
        (colour_png(COLOURS >> 6), 6),
        (colour_png(with_alpha(COLOURS, 65535), kind=6), 12),
        (colour_png(with_alpha(COLOURS[..., 0], 65535), kind=4), 12),
        (colour_tiff(COLOURS >> 1, "<"), 11),
        (colour_tiff(COLOURS, ">", packed=True), 12),
        (colour_tiff(COLOURS, "<", planar=2, packed=True), 12),
    ],
)
def test_12_bits_of_colours_in_16_without_a_word_are_said_to_come_out_dark(data, bits):
    with pytest.warns(ImageWarning, match=f"'x' has 16-bit pixels, of which only the lower {bits} bits are used"):
        read_image(io.BytesIO(data), "x")


def test_colours_of_16_bits_keep_the_high_byte(recwarn):
    for values in (COLOURS << 4, np.zeros((4, 4, 3), np.uint16)):
        for data in (colour_png(values), colour_png(values, 12), colour_tiff(values, "<"), colour_tiff(values, ">")):
            np.testing.assert_array_equal(both(data), values >> 8)
    np.testing.assert_array_equal(both(colour_tiff(COLOURS << 4, "<", planar=2, packed=True)), COLOURS >> 4)
    assert len(recwarn) == 0


def test_a_tiff_that_pillow_would_read_wrongly_is_refused():
    with pytest.raises(UserError, match="16-bit channels that lie one after another are not read"):
        read_image(io.BytesIO(colour_tiff(COLOURS, "<", planar=2)), "x")


def test_bright_and_black_16_bit_images_need_no_word(recwarn):
    for values in (DEEP << 4, np.zeros((4, 4), np.uint16)):
        np.testing.assert_array_equal(both(deep_png(values))[..., 0], values >> 8)
    assert len(recwarn) == 0
