"""Files that appear under their names whole or not at all."""

import atexit
import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path


def write_atomically(path: Path, data: bytes | str):
    """Make a file appear under its name whole or not at all, even if the machine stops in between."""
    path = Path(path)
    temporary = write_hidden(path, [data.encode() if isinstance(data, str) else data])
    try:
        rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_hidden(path: Path, pieces: Iterable[bytes | memoryview]) -> Path:
    """Write and fsync a new file under a hidden name beside `path`, and return that name; nothing stays on failure."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    # 0o666: the kernel takes the user's umask from it.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            for piece in pieces:
                _write_all(file, memoryview(piece))
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def rename(temporary: Path, path: Path):
    """Give a finished, fsynced file its name, in the place of an older file of that name."""
    os.replace(temporary, path)
    # The rename itself must survive a crash too: it lives in the folder.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def publish(temporary: Path, path: Path):
    """`rename` for a file that something else has created: with the permissions that the user's umask asks for.

    Changes the umask for a moment, so it must not run beside other threads that create files.
    """
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(temporary, 0o666 & ~umask)
    rename(temporary, path)


def only_mine(status: os.stat_result) -> bool:
    """Whether a file or a folder belongs to this user, or to root, and nobody else may write to it."""
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def folder_for_leftovers() -> Path:
    """A folder of this user alone below the system's temporary folder, for what other software leaves behind.

    Its name can be known and taken by others. Then it is a new folder, with a name that cannot.
    """
    folder = Path(tempfile.gettempdir()) / f"neonext_ms-{os.geteuid()}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700)
    with contextlib.suppress(OSError):
        status = folder.lstat()  # not of what a link leads to
        if stat.S_ISDIR(status.st_mode) and only_mine(status):
            return folder
    fresh = tempfile.mkdtemp(prefix="neonext_ms-")
    atexit.register(shutil.rmtree, fresh, ignore_errors=True)
    return Path(fresh)


def _write_all(file, data: memoryview):
    """A raw file may take a part only: of more than 2 GiB, or when the disk is nearly full."""
    while len(data):
        data = data[file.write(data) :]
