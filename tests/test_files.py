"""Files on any file system, and folders that another user could have made first."""

import errno
import fcntl
import hashlib
import os
import tempfile
import threading

import pytest

from neonext_ms.analysis.plots import read_series
from neonext_ms.checkpoint.description import read_description
from neonext_ms.checkpoint.store import load_checkpoint
from neonext_ms.data import open_source
from neonext_ms.data.sources.mindrecord import mindrecord_rows
from neonext_ms.errors import UserError
from neonext_ms.files import folder_for_leftovers, locked, open_regular, publish, remove_left, sha256, write_atomically
from neonext_ms.texts import read_text
from neonext_ms.training.run.folder import RunFolder
from neonext_ms.training.run.summary import read_summary


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


def unknown(number):
    def call(*_, **__):
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EPERM])
@pytest.mark.parametrize("function", ["fsync", "chmod", "flock"])
def test_a_network_file_system_that_does_not_know_a_request(function, number, tmp_path, monkeypatch):
    """As SMB, gcsfuse and exFAT do not: files appear nevertheless."""
    monkeypatch.setattr(fcntl if function == "flock" else os, function, unknown(number))
    write_atomically(tmp_path / "a", "text")
    (tmp_path / "part").write_bytes(b"network")
    publish(tmp_path / "part", tmp_path / "b")
    with locked(tmp_path, "writes into"):
        pass
    assert sorted(os.listdir(tmp_path)) == ["a", "b"] and (tmp_path / "b").read_bytes() == b"network"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fails_is_not_passed_over(number, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", unknown(number))
    with pytest.raises(OSError) as error:
        write_atomically(tmp_path / "a", "text")
    assert error.value.errno == number and os.listdir(tmp_path) == []


def test_what_is_published_is_on_disk_first(tmp_path, monkeypatch):
    """The bytes are synchronised before they get their name, and the folder after."""
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: calls.append(os.readlink(f"/proc/self/fd/{fd}")) or fsync(fd))
    monkeypatch.setattr(os, "replace", lambda a, b: calls.append("rename") or replace(a, b))
    (tmp_path / "part").write_bytes(b"x")
    publish(tmp_path / "part", tmp_path / "b")
    assert calls == [str(tmp_path / "part"), "rename", str(tmp_path)]


def test_a_folder_is_held_by_one_process(tmp_path):
    with locked(tmp_path, "writes into"):
        with pytest.raises(UserError, match=f"another process writes into '{tmp_path}': wait for it"):
            with locked(tmp_path, "writes into"):
                raise AssertionError
    with locked(tmp_path, "writes into"):
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["fifo", "/dev/zero", "a\0b", "gone"])
def test_what_is_no_file_is_an_error_and_not_a_hang(name, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError) as error:
        open_regular(tmp_path / name)
    assert error.value.strerror


def test_what_killed_processes_left_goes_with_the_next_writing(tmp_path):
    """But not what another process is writing now, or a user's own hidden file."""
    for name in (".a.html.0123abcd", ".a.html.4567cdef", ".a.html.backup", ".b.html.0123abcd"):
        (tmp_path / name).write_text("half of it")
    with open(tmp_path / ".a.html.4567cdef") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write_atomically(tmp_path / "a.html", "whole")
    assert sorted(os.listdir(tmp_path)) == [".a.html.4567cdef", ".a.html.backup", ".b.html.0123abcd", "a.html"]
    write_atomically(tmp_path / "a.html", "whole again")
    assert sorted(os.listdir(tmp_path)) == [".a.html.backup", ".b.html.0123abcd", "a.html"]
    assert (tmp_path / "a.html").read_text() == "whole again"


def test_a_file_that_is_being_written_is_held_until_it_has_its_name(tmp_path, monkeypatch):
    replace = os.replace

    def look(temporary, path):
        remove_left(path)
        replace(temporary, path)

    monkeypatch.setattr(os, "replace", look)
    write_atomically(tmp_path / "a", (part for part in (b"in ", b"parts")))
    assert (tmp_path / "a").read_bytes() == b"in parts" and os.listdir(tmp_path) == ["a"]


def waits(read, *arguments):
    """Whether a call is still waiting after some seconds, as for the other end of a pipe; else it was refused."""
    refused = []

    def call():
        with pytest.raises(UserError) as error:
            read(*arguments)
        refused.append(str(error.value))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(20)
    return thread.is_alive() or "\n" in refused[0]


def test_a_pipe_in_the_place_of_a_file_is_refused_and_waited_for_by_nobody(tmp_path):
    for name in ("x.ckpt", "x.mindir"):
        (tmp_path / name).touch()
    (tmp_path / "a.mindrecord").write_bytes((2).to_bytes(8, "little") + b"{}")
    pipes = "x.ckpt.json x.mindir.json text train-0.tar train-0.parquet a.mindrecord.db m.jsonl"
    for name in pipes.split():
        os.mkfifo(tmp_path / name)
    (run := tmp_path / "run").mkdir()
    os.mkfifo(run / "config.yaml")
    for read, *arguments in (
        (load_checkpoint, tmp_path / "x.ckpt"),
        (read_description, tmp_path / "x.mindir"),
        (read_text, tmp_path / "text"),
        (read_series, tmp_path / "m.jsonl"),
        (read_summary, tmp_path / "m.jsonl"),
        (open_source, "tar", tmp_path, "train"),
        (open_source, "parquet", tmp_path, "train"),
        (lambda: list(mindrecord_rows(tmp_path / "a.mindrecord", 2, 2)),),
        (RunFolder, run, "neonext_pico", 1),
    ):
        assert not waits(read, *arguments), read


def test_sha256_is_of_what_a_file_still_holds(tmp_path):
    data = bytes(range(256)) * 2049  # more than two pieces
    (tmp_path / "data").write_bytes(data)
    with open(tmp_path / "data", "rb") as file:
        assert file.read(3) == data[:3]
        assert sha256(file) == hashlib.sha256(data[3:]).hexdigest()
        assert file.tell() == len(data) and sha256(file) == hashlib.sha256().hexdigest()
