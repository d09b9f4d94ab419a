"""Where an export goes: two files that appear together under their names or not at all, whatever ends the process.

An export works in a hidden folder beside its output, locked while it lives. The description gets its name before the
file, so that a file under its final name always has one. What a killed export leaves is told by its marks: a folder of
that name that nobody holds, and a description without its file.
"""

import contextlib
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from neonext_ms.checkpoint.description import describes
from neonext_ms.checkpoint.manifest import manifest_path
from neonext_ms.deploy.export.limits import LARGEST
from neonext_ms.errors import UserError
from neonext_ms.files import rename, write_atomically
from neonext_ms.texts import to_json

_MARK = "neonext-export-"


def check_output(output: Path, folder: bool = False):
    """Refuse, before any work is done, an output that could not be written; what killed exports of it left goes.

    Args:
        output: of a file with its card, or of a folder.
        folder: which of them.

    Raises:
        UserError: another format, no folder, or there is something under its name that is not ours.
    """
    if not folder and output.suffix not in LARGEST:
        raise UserError(f"the output must end in .mindir or .onnx, got {output}")
    if not output.parent.is_dir():
        raise UserError(
            f"there is no folder {output.parent} to write {output.name} in: make it or choose another output"
        )
    for left in output.parent.glob(f"{glob.escape(_prefix(output))}*"):
        _remove_unheld(left)
    _check_names(output, folder)


def _check_names(output: Path, folder: bool = False):
    beside = manifest_path(output)
    for path in (output,) if folder else (output, beside):
        left_over = path == beside and not output.exists() and describes(beside, output.name)
        if os.path.lexists(path) and not left_over:
            raise UserError(f"{path} exists already and is not overwritten: choose another output or remove it")


@contextlib.contextmanager
def workplace(output: Path) -> Iterator[Path]:
    """A hidden folder beside the output, gone in the end.

    Raises:
        UserError: nothing can be written there.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix=_prefix(output), dir=output.parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise UserError(f"cannot write in {output.parent} ({error.strerror}): choose another output") from None
    with folder as name, _held(Path(name)):
        yield Path(name)


def publish(part: Path, output: Path, description: dict):
    """Give a finished, fsynced file of the workplace its name, and what describes it the name beside it.

    Raises:
        UserError: it cannot be written, or there is something under its name by now; nothing is left behind.
    """
    _check_names(output)
    beside = manifest_path(output)
    try:
        write_atomically(part.with_name(beside.name), to_json(description, indent=1))
        rename(part.with_name(beside.name), beside)
        try:
            rename(part, output)
        except BaseException:
            beside.unlink()
            raise
    except OSError as error:
        raise UserError(f"cannot write {output} ({error.strerror}): choose another output") from None


def name_folder(part: Path, output: Path):
    """Give a finished folder of the workplace its name; errors as those of `publish`."""
    _check_names(output, folder=True)
    try:
        for file in part.iterdir():
            with open(file, "rb") as written:
                os.fsync(written.fileno())
        rename(part, output)
    except OSError as error:
        raise UserError(f"cannot write {output} ({error.strerror}): choose another output") from None


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Lock a folder while in here, where the file system can; whether nobody else has it locked."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _prefix(output: Path) -> str:
    return f".{output.name}.{_MARK}"


def _remove_unheld(folder: Path):
    if folder.is_symlink() or not folder.is_dir():
        return
    with _held(folder) as mine:
        if mine:
            shutil.rmtree(folder, ignore_errors=True)
