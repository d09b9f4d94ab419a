"""Files that appear under their names whole or not at all, whatever the file system can do."""

import atexit
import errno
import fcntl
import glob
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from neonext_ms.errors import UserError

# What file systems say to a request that they do not know, as of networks and of Windows: not that a disk has failed.
_UNKNOWN = {
    errno.EINVAL,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EBADF,
    errno.EPERM,
    errno.EACCES,
    errno.ENOLCK,
    errno.EISDIR,
}
_HIDDEN = re.compile(r"\.(.+)\.[0-9a-f]{8}")


def write_atomically(path: Path, data: bytes | str | Iterable[bytes]):
    """Make a file appear under its name whole or not at all, even if the machine stops in between.

    What killed processes left when they wrote this file is removed.
    """
    path = Path(path)
    remove_left(path)
    if isinstance(data, str):
        data = data.encode(errors="surrogateescape")  # names in a text are bytes, which need not be UTF-8
    with _hidden(path, [data] if isinstance(data, bytes) else data) as temporary:
        rename(temporary, path)


def write_hidden(path: Path, pieces: Iterable[bytes | memoryview]) -> Path:
    """Write and fsync a new file under a hidden name beside `path`, and return that name; nothing stays on failure."""
    with _hidden(path, pieces) as temporary:
        return temporary


def name_of_hidden(name: str) -> str | None:
    """The name that a file of `write_hidden` was to get; None if this is the name of another file."""
    match = _HIDDEN.fullmatch(name)
    return match and match[1]


def remove_left(path: Path):
    """Remove the hidden files of processes that were killed when they wrote `path`; who writes, holds the file."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}"):
        with suppress(OSError):
            handle = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()
            finally:
                os.close(handle)


@contextmanager
def _hidden(path: Path, pieces: Iterable[bytes | memoryview]) -> Iterator[Path]:
    """The hidden name of a finished file, which this process holds within it; removed if that fails."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    # 0o666: the kernel takes the user's umask from it.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for piece in pieces:
                _write_all(file, memoryview(piece))
            _sync(file.fileno())
            yield temporary
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def rename(temporary: Path, path: Path):
    """Give a finished, fsynced file its name, in the place of an older file of that name."""
    os.replace(temporary, path)
    # The rename itself must survive a crash too: it lives in the folder.
    with _known():
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            _sync(folder)
        finally:
            os.close(folder)


def publish(temporary: Path, path: Path):
    """`rename` for a file that something else has created: fsynced, with the permissions that the umask asks for.

    Changes the umask for a moment, so it must not run beside other threads that create files.
    """
    umask = os.umask(0)
    os.umask(umask)
    with _known():
        os.chmod(temporary, 0o666 & ~umask)
    with open(temporary, "rb") as file:
        _sync(file.fileno())
    rename(temporary, path)


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder for oneself; where the file system knows no locks, go on without. Ends with the process.

    Raises: UserError: another process holds it; what: says what it does there.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            with _known():
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process {what} '{folder}': wait for it, or give another folder") from None
        yield
    finally:
        os.close(handle)


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file for reading bytes. A pipe, socket or device, which may have no end, is an OSError, never a hang."""
    try:
        # Not even opened: that alone may wait, or rewind a tape.
        if not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        return open(path, "rb")
    except ValueError as error:  # a zero byte in the name
        raise OSError(errno.EINVAL, str(error), os.fspath(path)) from None


def read_regular(path: str | Path) -> bytes:
    """All of a file, as `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def sha256(file: BinaryIO) -> str:
    """SHA-256 of what an open file still holds; hashlib.file_digest is not in Python 3.10."""
    digest = hashlib.sha256()
    while piece := file.read(1 << 18):
        digest.update(piece)
    return digest.hexdigest()


def only_mine(status: os.stat_result) -> bool:
    """Whether a file or a folder belongs to this user, or to root, and nobody else may write to it."""
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def folder_for_leftovers() -> Path:
    """A folder of this user alone below the system's temporary folder, for what other software leaves behind.

    Its name can be known and taken by others. Then it is a new folder, with a name that cannot.
    """
    folder = Path(tempfile.gettempdir()) / f"neonext_ms-{os.geteuid()}"
    with suppress(OSError):
        folder.mkdir(mode=0o700)
    with suppress(OSError):
        status = folder.lstat()  # not of what a link leads to
        if stat.S_ISDIR(status.st_mode) and only_mine(status):
            return folder
    fresh = tempfile.mkdtemp(prefix="neonext_ms-")
    atexit.register(shutil.rmtree, fresh, ignore_errors=True)
    return Path(fresh)


@contextmanager
def _known():
    """Pass over what a file system cannot do."""
    try:
        yield
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise


def _sync(handle: int):
    with _known():
        os.fsync(handle)


def _write_all(file, data: memoryview):
    """A raw file may take a part only: of more than 2 GiB, or when the disk is nearly full."""
    while len(data):
        data = data[file.write(data) :]
