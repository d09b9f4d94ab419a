"""Which files the command infer takes: files, folders, patterns, and lists of them."""

import os

import pytest

from neonext_ms.deploy import image_paths
from neonext_ms.errors import UserError


def test_image_paths_are_files_folders_patterns_and_lists(tmp_path):
    for name in ("b/2.PNG", "b/1.jpg", "b/notes.txt", "b/c/3.png", "a.bin", "odd[1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def found(*paths, listed=()):
        return [os.path.relpath(file, tmp_path) for file in image_paths([tmp_path / path for path in paths], listed)]

    assert found("a.bin", "b") == ["a.bin", "b/1.jpg", "b/2.PNG", "b/c/3.png"]
    assert found("b/*.jpg", "b/**/*.png", "odd[1].png") == ["b/1.jpg", "b/c/3.png", "odd[1].png"]
    assert list(image_paths(["-", tmp_path / "a.bin"], ["x y.png\n", "\n", " a .png \r\n", "gone.png"])) == [
        "x y.png",
        " a .png ",
        "gone.png",
        str(tmp_path / "a.bin"),
    ]
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "to nothing.png").symlink_to("nothing")
    assert found("links") == ["links/to nothing.png"], "who reads it reports it"
    (tmp_path / "empty").mkdir()
    for path, message in (
        ("empty", "no image in the folder .*empty"),
        ("gone", "no file or folder .*gone"),
        ("*.gif", r"no file fits the pattern .*\*.gif"),
    ):
        with pytest.raises(UserError, match=message):
            image_paths([tmp_path / path])


def test_a_folder_with_brackets_and_a_pattern(tmp_path):
    for name in ("holiday [2024]/a.jpg", "holiday [2024]/b [1].jpg", "holiday [2024]/deep/c.jpg", "holiday 2/d.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def found(pattern):
        return [os.path.relpath(file, tmp_path / "holiday [2024]") for file in image_paths([tmp_path / pattern])]

    assert found("holiday [2024]/*.jpg") == ["a.jpg", "b [1].jpg"]
    assert found("holiday [2024]/**/*.jpg") == ["a.jpg", "b [1].jpg", "deep/c.jpg"]
    assert found("holiday [2024]/b [1].jpg") == ["b [1].jpg"]
    assert found("holiday [[]2024]/*.jpg") == ["a.jpg", "b [1].jpg"]
    assert found("holiday [0-9]/*.jpg") == ["../holiday 2/d.jpg"]


@pytest.mark.parametrize("mark", ["\ufeff", os.fsdecode(b"\xef\xbb\xbf")])
def test_a_byte_order_mark_before_a_list_is_no_part_of_the_first_name(mark):
    assert list(image_paths(["-"], [f"{mark}a.jpg\r\n", "b.jpg\r\n"])) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_list_in_utf_16_is_refused(encoding):
    lines = "a.jpg\nb.jpg\n".encode(encoding).decode(errors="surrogateescape").splitlines(keepends=True)
    with pytest.raises(UserError, match="give .* as UTF-8"):
        list(image_paths(["-"], lines))
