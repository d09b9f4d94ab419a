"""Image files of every kind become RGB; damaged ones become one line that names the file."""

import warnings

import numpy as np
import pytest
from PIL import Image

from neonext_ms.data import read_image
from neonext_ms.data.decode import read_region
from neonext_ms.errors import UserError

RGB = np.random.RandomState(0).randint(0, 256, (5, 7, 3)).astype(np.uint8)


def save(path, image, **options):
    image.save(path, **options)
    return path


def test_rgb_is_exact(tmp_path):
    out = read_image(save(tmp_path / "a.png", Image.fromarray(RGB)))
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, RGB)


def test_grey_is_repeated(tmp_path):
    out = read_image(save(tmp_path / "a.png", Image.fromarray(RGB[..., 0])))
    np.testing.assert_array_equal(out, RGB[..., :1].repeat(3, 2))


def test_bilevel(tmp_path):
    bits = RGB[..., 0] > 127
    out = read_image(save(tmp_path / "a.png", Image.fromarray(bits)))
    np.testing.assert_array_equal(out[..., 1], bits * 255)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_keeps_the_high_byte(tmp_path, name):
    deep = np.array([[0, 255, 256], [0x1234, 0x80FF, 0xFFFF]], np.uint16)
    out = read_image(save(tmp_path / name, Image.fromarray(deep)))
    np.testing.assert_array_equal(out[..., 2], deep >> 8)


def test_palette(tmp_path):
    image = Image.fromarray(RGB).quantize(16)
    out = read_image(save(tmp_path / "a.gif", image))
    np.testing.assert_array_equal(out, np.asarray(image.convert("RGB")))


def test_palette_with_transparent_colour(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.putpixel((1, 0), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = read_image(save(tmp_path / "a.png", image, transparency=0))
    np.testing.assert_array_equal(out, [[[255, 255, 255], [10, 20, 30]]])


def test_transparency_is_laid_over_white(tmp_path):
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    out = read_image(save(tmp_path / "a.png", Image.fromarray(rgba)))
    np.testing.assert_array_equal(out, [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]])


def test_grey_with_alpha(tmp_path):
    out = read_image(save(tmp_path / "a.png", Image.fromarray(np.array([[[7, 255], [7, 0]]], np.uint8))))
    np.testing.assert_array_equal(out, [[[7] * 3, [255] * 3]])


def test_cmyk_jpeg(tmp_path):
    colour = Image.new("RGB", (16, 16), (200, 100, 50))
    out = read_image(save(tmp_path / "a.jpg", colour.convert("CMYK"), quality=100))
    assert np.abs(out.astype(int) - (200, 100, 50)).max() <= 4


@pytest.mark.parametrize(
    "orientation, turned",
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a, 2).swapaxes(0, 1)),
        (8, lambda a: np.rot90(a)),
    ],
)
def test_exif_orientation(tmp_path, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = read_image(save(tmp_path / "a.png", Image.fromarray(RGB), exif=exif))
    np.testing.assert_array_equal(out, turned(RGB))


def one_line_about(path):
    with pytest.raises(UserError) as caught:
        read_image(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    assert message.count(str(path)) == 1
    return message


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_truncated_files(tmp_path, name):
    noise = np.random.RandomState(1).randint(0, 256, (64, 64, 3)).astype(np.uint8)
    whole = save(tmp_path / name, Image.fromarray(noise)).read_bytes()
    for tenth in range(10):
        cut = tmp_path / f"cut{tenth}-{name}"
        cut.write_bytes(whole[: len(whole) * tenth // 10])
        one_line_about(cut)


def test_not_an_image(tmp_path):
    (tmp_path / "a.jpg").write_text("hello")
    assert "not a format that Pillow knows" in one_line_about(tmp_path / "a.jpg")


def test_missing_file(tmp_path):
    assert "No such file" in one_line_about(tmp_path / "gone.jpg")


def test_floating_point_pixels_are_refused(tmp_path):
    path = save(tmp_path / "a.tif", Image.fromarray(np.zeros((2, 2), np.float32)))
    assert "8 or 16 bits" in one_line_about(path)


def test_decompression_bomb(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", Image.fromarray(RGB))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow's own limit, which is 89 million; it refuses twice that
    assert "decompression bomb" in one_line_about(path)


def save_jpeg(path, height, width, **options):
    coarse = np.random.RandomState(3).randint(0, 256, (6, 8, 3)).astype(np.uint8)
    return save(path, Image.fromarray(coarse).resize((width, height), Image.BICUBIC), quality=95, **options)


@pytest.mark.parametrize("side, scale", [(10, 8), (20, 4), (25, 4), (26, 2), (50, 2), (51, 1), (200, 1)])
def test_a_jpeg_is_decoded_at_the_smallest_scale_that_the_box_allows(tmp_path, side, scale):
    path = save_jpeg(tmp_path / "a.jpg", 163, 205)
    sizes = []
    image, box = read_region(path, "a", lambda *size: sizes.append(size) or (60, 30, 160, 142), side)
    assert sizes == [(163, 205)]
    assert image.mode == "RGB" and image.size == (-(-205 // scale), -(-163 // scale))
    assert box == (60 / scale, 30 / scale, 160 / scale, 142 / scale)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("side", [12, 45, 90])
def test_a_region_shows_what_the_whole_image_shows(tmp_path, orientation, side):
    """Also of turned images, at any scale: the box of the whole, resized, but for the filter's small differences."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save_jpeg(tmp_path / "a.jpg", 240, 320, exif=exif)
    whole = read_image(path)
    height, width = whole.shape[:2]
    box = (width // 4, height // 8, width // 4 + 100, height // 8 + 110)
    image, found = read_region(path, "a", lambda *size: box if size == (height, width) else None, side)
    out = np.asarray(image.resize((side, side), Image.BICUBIC, found)).astype(int)
    expected = np.asarray(Image.fromarray(whole).resize((side, side), Image.BICUBIC, box)).astype(int)
    assert np.abs(out - expected).mean() < 3 and np.abs(out - expected).max() < 25


def test_a_region_of_a_small_image_is_exact(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(RGB))
    image, box = read_region(path, "a", lambda height, width: (1, 0, width, height), 2)
    np.testing.assert_array_equal(np.asarray(image), RGB)
    assert box == (1, 0, 7, 5)


def test_a_region_of_a_damaged_jpeg(tmp_path):
    whole = save_jpeg(tmp_path / "a.jpg", 240, 320).read_bytes()
    for tenth in range(10):
        for side in (10, 200):
            cut = tmp_path / "cut.jpg"
            cut.write_bytes(whole[: len(whole) * tenth // 10])
            with pytest.raises(UserError, match="^cannot read 'that one' as an image: "):
                read_region(cut, "that one", lambda height, width: (0, 0, width, height), side)
