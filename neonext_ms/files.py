"""Files that appear under their names whole or not at all."""

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, data: bytes | str):
    """Make a file appear under its name whole or not at all, even if the machine stops in between."""
    path = Path(path)
    data = data.encode() if isinstance(data, str) else data
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        publish(Path(temporary), path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def publish(temporary: Path, path: Path):
    """Give a finished, fsynced file its name, with the permissions that the user's umask asks for."""
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(temporary, 0o666 & ~umask)
    os.replace(temporary, path)
    # The rename itself must survive a crash too: it lives in the folder.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
