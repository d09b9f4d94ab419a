"""What stands around the pixels of an image file: damage there is taken out, and how they are turned is read."""

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_BEFORE = b" \t\r\n\0\xef\xbb\xbf"  # what editors and transfers put before a file: white space, a byte order mark
_MOST_BEFORE = 64
_END = b"\xff\xd9"
_NOISE = b"\x55\xa6" * 64  # ends no JPEG, and decodes to something where pixels are missing
_APP1, _SCAN, _COMMENT = 0xE1, 0xDA, 0xFE
_NEEDED = {0xE0, _APP1, 0xEE}  # JFIF, EXIF, and Adobe's, which says what the colours are
_ORIENTATION = 0x0112
_WHOLE = {1: "B", 3: "H", 4: "I"}  # types of EXIF that hold whole numbers, and how they lie in a file


def repaired(stream: BinaryIO, pixels: Callable[[bytes], bytes | None]) -> Iterator[bytes]:
    """Other forms of an image file that cannot be read, in which only pixels, size and orientation are left.

    Args:
        stream: the file, from its start.
        pixels: decodes a JPEG, whole; None if that fails.
    Yields: files to try, the one with most in it first; none if it is no PNG or JPEG and nothing stands before it.
    """
    first = stream.read(_MOST_BEFORE)
    start = first.lstrip(_BEFORE)
    if not start.startswith((PNG, JPEG)):
        if start and start != first:
            yield start + stream.read()
        return
    data = start + stream.read()
    if data.startswith(PNG):
        yield _plain_png(data)
        return
    for keep_exif in (True, False):
        plain = _plain_jpeg(data, keep_exif)
        yield plain
        # Without an end marker: all pixels are there if what follows changes none of them.
        plain = plain.rstrip(b"\xff")
        if (whole := pixels(plain + _END)) is not None and whole == pixels(plain + _NOISE + _END):
            yield plain + _END


def exif_orientation(exif: bytes) -> int | None:
    """The orientation in a block of EXIF data, of which nothing else need be readable; None if there is none."""
    data = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    try:
        (at,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(f"{order}HHI", data, entry)
            if tag == _ORIENTATION and number == 1 and kind in _WHOLE:
                return struct.unpack_from(f"{order}{_WHOLE[kind]}", data, entry + 8)[0]
    except struct.error:  # also of an order that is none
        pass
    return None


def _plain_png(data: bytes) -> bytes:
    """With the chunks that pixels and orientation need, as far as they are whole."""
    out, at = [PNG], len(PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 12 + length
        whole = zlib.crc32(data[at + 4 : end - 4]).to_bytes(4, "big") == data[end - 4 : end]
        # A small first letter means that the image can do without it.
        if kind[:1].isupper() or (kind in (b"tRNS", b"eXIf", b"sBIT") and whole):
            out.append(data[at:end])
        at = end
    return b"".join(out)


def _plain_jpeg(data: bytes, keep_exif: bool) -> bytes:
    """Without comments, colour profiles and other programs' segments, and if asked to without EXIF."""
    needed = _NEEDED if keep_exif else _NEEDED - {_APP1}
    out, at = [JPEG], len(JPEG)
    while at + 4 <= len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        if kind == _SCAN:
            break
        if kind == 0xFF:  # padding
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if kind in needed or not (0xE0 <= kind <= 0xEF or kind == _COMMENT):
            out.append(data[at:end])
        at = end
    out.append(data[at:])
    return b"".join(out)
