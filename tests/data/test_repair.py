"""What decodes to good pixels is an image, whatever stands around them; what does not, is none."""

import io
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from neonext_ms.data import decode, read_image
from neonext_ms.data.decode import read_region
from neonext_ms.data.deep import ImageWarning
from neonext_ms.errors import UserError
from tests.support.pictures import COARSE, DEEP, PICTURE, PIXELS, both, chunk, encoded


def is_bad(data):
    for read in (lambda f: read_image(f, "x"), lambda f: read_region(f, "x", lambda h, w: (0, 0, w, h), 8)):
        with pytest.raises(UserError, match="^cannot read 'x' as an image: "):
            read(io.BytesIO(data))


def png_with(*chunks):
    data = encoded("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (2 << 20))),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * (2 << 20))),
        chunk(b"tEXt", b"Comment\0" + b"x" * (3 << 20)),
        chunk(b"zTXt", b"Comment\0\0this is not compressed"),
        chunk(b"tEXt", b"Comment\0text", checksum=1),
        chunk(b"iCCP", b"profile\0\0this is not compressed"),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(b"p" * (5 << 20))),
        chunk(b"iCCP", b"profile\0\7"),
        chunk(b"eXIf", b"II*\0\xff\xff\xff\xff", checksum=5),
        chunk(b"pHYs", b"\0"),
        chunk(b"gAMA", b""),
        chunk(b"cHRM", b"\0" * 3),
        chunk(b"tIME", b"\0" * 99, checksum=0),
    ],
)
def test_a_png_with_damage_outside_its_pixels(extra):
    np.testing.assert_array_equal(both(png_with(extra)), PIXELS)
    after = encoded("PNG")
    np.testing.assert_array_equal(both(after[:-12] + extra + after[-12:]), PIXELS)


def test_a_png_keeps_orientation_and_transparency_when_its_texts_are_damaged():
    bad = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (2 << 20)))  # more than Pillow reads
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded("PNG", exif=exif)
    np.testing.assert_array_equal(both(data[:33] + bad + data[33:]), np.rot90(PIXELS, -1))
    data = encoded("PNG", PICTURE.quantize(16), transparency=0)
    np.testing.assert_array_equal(both(data[:33] + bad + data[33:]), both(data))


def test_a_png_with_damaged_pixels_is_bad():
    data = encoded("PNG", Image.fromarray(np.random.RandomState(1).randint(0, 256, (64, 64, 3)).astype(np.uint8)))
    is_bad(data[: len(data) // 2])
    is_bad(data[:100] + b"garbage" * 20 + data[240:])
    is_bad(data[:33] + chunk(b"zTXt", b"Comment\0\0no") + data[33 : len(data) // 2])


def jpeg_with(*segments, **options):
    data = encoded("JPEG", quality=95, **options)
    return data[:20] + b"".join(segments) + data[20:]


def exif_block(entries, extra=b""):
    """A little-endian EXIF segment with one directory. entries: (tag, type, count, four bytes)."""
    body = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries))
    body += b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries) + b"\0\0\0\0" + extra
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


ON_ITS_SIDE = (0x0112, 3, 1, struct.pack("<HH", 6, 0))


@pytest.mark.parametrize(
    "entries",
    [
        [(0x829A, 3, 1, struct.pack("<f", 0.5))],  # a fraction where a whole number belongs
        [(0x011A, 2, 4, b"72/1")],  # a text where a fraction belongs
        [(0x010F, 5, 1, b"\xff\xff\xff\xff")],  # lies outside
        [(0x8769, 4, 1, b"\xff\xff\xff\x7f")],  # a directory that is not there
        [(0x9286, 7, 1 << 30, b"\0\0\0\0")],
        [(0xC000, 99, 1, b"\0\0\0\0")],
        [],
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_jpeg_whose_exif_is_damaged(entries, turned):
    plain = read_image(io.BytesIO(jpeg_with()), "x")
    data = jpeg_with(exif_block(sorted(entries + [ON_ITS_SIDE] * turned)))
    np.testing.assert_array_equal(both(data), np.rot90(plain, -1) if turned else plain)


@pytest.mark.parametrize(
    "orientation",
    [
        (0x0112, 2, 2, b"6\0\0\0"),
        (0x0112, 3, 1, struct.pack("<HH", 99, 0)),
        (0x0112, 3, 2, struct.pack("<HH", 6, 6)),
        (0x0112, 7, 4, b"\6\0\0\0"),
        (0x0112, 5, 1, struct.pack("<I", 8)),
        (0x0112, 3, 0, b"\0\0\0\0"),
    ],
)
def test_an_orientation_that_is_no_number_from_1_to_8(orientation):
    """Does not make the image unreadable, and training and inference agree on it."""
    plain = read_image(io.BytesIO(jpeg_with()), "x")
    found = both(jpeg_with(exif_block([orientation])))
    assert any(np.array_equal(found, turned) for turned in (plain, np.rot90(plain, -1)))


@pytest.mark.parametrize(
    "segment",
    [
        b"\xff\xe2\x00\x20ICC_PROFILE\0\1\1" + b"garbage" * 2 + b"\0\0",
        b"\xff\xe2\x00\x0aMPF\0II*\0",
        b"\xff\xed\x00\x17Photoshop 3.0\0008BIM\4\4\xff",
        b"\xff\xfe\x00\x06\x9b\xff\0\1",
        b"\xff\xe1\x00\x0aExif\0\0II",
        b"\xff\xe1\x00\x02",
    ],
)
def test_a_jpeg_with_damage_outside_its_pixels(segment):
    np.testing.assert_array_equal(both(jpeg_with(segment)), both(jpeg_with()))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 2}])
def test_a_jpeg_without_its_end_marker(options):
    data = jpeg_with(**options)
    assert data.endswith(b"\xff\xd9")
    for cut in (data[:-1], data[:-2], data[:-2] + b"\0" * 512):
        np.testing.assert_array_equal(both(cut), both(data))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_that_misses_pixels_is_bad(options):
    """However little is missing."""
    data = encoded("JPEG", COARSE.resize((160, 112), Image.BICUBIC), quality=95, **options)  # whole blocks
    for missing in (4, 5, 8, 12, 30, 100, 500):
        is_bad(data[:-missing])


@pytest.mark.parametrize("before", [b"\n", b"\r\n\r\n", b"\xef\xbb\xbf", b"\0\0\0\0", b" \t\n"])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_white_space_before_the_file(before, form):
    np.testing.assert_array_equal(both(before + encoded(form)), both(encoded(form)))


def test_mistakes_of_the_program_are_not_taken_for_damage(monkeypatch):
    def choose(height, width):
        raise KeyError("a mistake")

    for form in ("JPEG", "PNG"):
        with pytest.raises(KeyError, match="a mistake"):
            read_region(io.BytesIO(encoded(form)), "x", choose, 8)
    for mistake in (TypeError, AttributeError, NameError):
        with monkeypatch.context() as patch:
            patch.setattr(
                decode, "_converted", lambda image, mistake=mistake: (_ for _ in ()).throw(mistake("a mistake"))
            )
            with pytest.raises(mistake, match="a mistake"):
                read_image(io.BytesIO(encoded("GIF")), "x")
    with pytest.raises(AttributeError):
        read_image(None)


def test_the_box_is_chosen_once_even_for_a_file_that_needs_repair():
    calls = []
    read_region(io.BytesIO(jpeg_with()[:-2]), "x", lambda *size: calls.append(size) or (0, 0, 8, 8), 8)
    assert calls == [(48, 64)]


def test_panoramas_are_read_at_a_smaller_scale_and_nothing_is_said(monkeypatch, recwarn):
    """Pillow suspects images above its limit, 89 million pixels, and refuses those of twice as many."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", PICTURE.width * PICTURE.height * 3 // 4)
    assert both(jpeg_with()).shape == (48, 64, 3) and len(recwarn) == 0, "suspected"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", PICTURE.width * PICTURE.height // 3)
    assert read_image(io.BytesIO(jpeg_with()), "x").shape == (24, 32, 3), "refused, and read at half its size"
    image, box = read_region(io.BytesIO(jpeg_with()), "x", lambda height, width: (0, 0, width, height), 48)
    assert image.size == (32, 24) and box == (0, 0, 32, 24)
    is_bad(encoded("PNG"))
    is_bad(jpeg_with(progressive=True))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8)
    is_bad(jpeg_with())


def test_fuzzed_images():
    """Pixels or a UserError of one line, whatever stands in the file; what else is raised is a mistake of ours."""
    rng = random.Random(0)
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.0
    seeds = [encoded(form, exif=exif) for form in ("JPEG", "PNG", "WEBP", "TIFF")]
    seeds += [encoded(form) for form in ("GIF", "BMP", "PPM", "TGA", "ICO", "ICNS", "PCX", "SGI", "DDS", "QOI")]
    seeds += [encoded("PNG", Image.fromarray(DEEP)), encoded("GIF", PICTURE.quantize(9), transparency=0)]
    for _ in range(600):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.choice((1, 2, 8))):
            at = rng.randrange(rng.choice((len(data), min(len(data), 100))))
            data[at : at + rng.choice((0, 1, 1, 1, 4))] = rng.choice((b"", b"\0", b"\xff", rng.randbytes(2)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", ImageWarning)
            try:
                read_region(io.BytesIO(data), "x", lambda height, width: (0, 0, width, height), 8)
            except UserError as error:
                assert "\n" not in str(error)
