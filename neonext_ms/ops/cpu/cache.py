"""Where compiled libraries are kept for the user's next process, and which of them may be loaded.

A library runs with the user's rights. So it is loaded only from a folder and a file that nobody else may write, and
only with the digest that was noted when it was built; whatever else is found under its name is built again.
"""

import contextlib
import ctypes
import fcntl
import functools
import logging
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from neonext_ms.files import only_mine, rename, sha256, write_atomically

log = logging.getLogger(__name__)

Build = Callable[[Path], None]  # makes a library of that name; raises Unavailable if it cannot


class _Unfit(Exception):
    """A folder that libraries are not kept in; the message says why, and what to do."""


def cache_directory() -> Path:
    """Where libraries are kept: NEONEXT_CACHE_DIR, or neonext_ms in the user's cache directory.

    Raises:
        OSError: a user without a home directory.
    """
    if os.environ.get("NEONEXT_CACHE_DIR"):
        return Path(os.path.expanduser(os.environ["NEONEXT_CACHE_DIR"])).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    if not os.path.isabs(base):
        raise OSError("there is no home directory")
    return Path(base) / "neonext_ms"


def find_kept(pattern: str) -> Path | None:
    """An intact library whose name fits the pattern, such as one that was built when there still was a compiler."""
    with contextlib.suppress(OSError, _Unfit):
        folder = cache_directory()
        _check_folder(folder)
        return next((library for library in sorted(folder.glob(pattern), reverse=True) if _intact(library)), None)
    return None


def find_or_build(name: str, build: Build) -> Path:
    """The library of this name, built unless it is there intact; of several processes one builds, the others wait.

    It is in a private temporary folder, removed when the process ends, where the user's cache does not serve.

    Raises:
        Unavailable: by `build`.
    """
    try:
        folder = cache_directory()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_folder(folder)
        library = folder / name
        if not _intact(library):
            with _locked(folder / f"{name}.lock"):
                if not _intact(library):
                    _build_whole(library, build)
        return library
    except (OSError, _Unfit) as reason:
        log.warning(
            "The CPU kernel is compiled for this process alone: %s (set NEONEXT_CACHE_DIR to a folder of your own, "
            "and it is kept)",
            reason,
        )
        library = temporary_folder() / name
        _build_whole(library, build)
        return library


def _check_folder(folder: Path):
    status = folder.stat()
    if not only_mine(status):
        raise _Unfit(
            f"the cache {folder} (owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):o}) may be written by "
            "other users"
        )
    if _forbids_programs(folder):
        raise _Unfit(f"no program may run from the cache {folder}, its file system is mounted noexec")


def _forbids_programs(folder: Path | str) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_NOEXEC)


def _intact(library: Path) -> bool:
    """Whether the library is what was built, nobody else could have written it, and it fits this machine."""
    try:
        noted = _note_of(library).read_text()
        handle = os.open(library, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or not only_mine(status) or _digest(file) != noted:
                return False
        ctypes.CDLL(str(library))  # refuses one for another machine or another C++ library
        return True
    except (OSError, UnicodeDecodeError):
        return False


def _note_of(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _digest(file) -> str:
    return sha256(file) + "\n"


@contextlib.contextmanager
def _locked(path: Path):
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        with contextlib.suppress(OSError):  # a file system without locks: two may build, and either result serves
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _build_whole(library: Path, build: Build):
    """The library and its digest appear whole or not at all, even if the machine stops in between."""
    prefix = f".{library.stem}-"
    for left in library.parent.glob(f"{prefix}*"):  # by a process that was killed
        left.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(prefix=prefix, dir=library.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        build(temporary)
        with contextlib.suppress(OSError):  # a file system without modes
            temporary.chmod(0o755)  # the linker goes by the umask, which may let others write
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
            digest = _digest(file)
        _note_of(library).unlink(missing_ok=True)
        rename(temporary, library)
        write_atomically(_note_of(library), digest)
    finally:
        temporary.unlink(missing_ok=True)


@functools.cache
def temporary_folder() -> Path:
    """A private folder that programs may be loaded from; it is gone when the process ends."""
    places = [tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR", ""), "/var/tmp", "/dev/shm"]
    serving = (place for place in places if os.access(place, os.W_OK) and not _forbids_programs(place))
    holder = tempfile.TemporaryDirectory(prefix="neonext_ms-", dir=next(serving, None))
    temporary_folder.holder = holder  # for as long as the process lives
    return Path(holder.name)
