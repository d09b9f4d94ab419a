"""Folders that another user could have made first."""

import os
import tempfile

import pytest

from neonext_ms.files import folder_for_leftovers


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"neonext_ms-{os.geteuid()}"


def test_leftovers_have_one_folder_of_the_user_alone(place):
    assert folder_for_leftovers() == folder_for_leftovers() == place
    assert place.stat().st_mode & 0o777 == 0o700 and place.stat().st_uid == os.geteuid()


@pytest.mark.parametrize("kind", ["link", "file", "writable", "foreign"])
def test_leftovers_keep_off_what_another_user_could_have_made(kind, place, tmp_path):
    if kind == "link":
        place.symlink_to(tmp_path / "victim")
        (tmp_path / "victim").mkdir()
    elif kind == "file":
        place.write_text("")
    else:
        place.mkdir()
        place.chmod(0o777 if kind == "writable" else 0o700)
        if kind == "foreign":
            if os.geteuid() != 0:
                pytest.skip("only root may give files away")
            os.chown(place, 54321, 54321)
    folder = folder_for_leftovers()
    assert folder != place and folder.parent == tmp_path and folder.stat().st_mode & 0o777 == 0o700
