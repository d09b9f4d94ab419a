"""What is made once for all processes of a test run."""

import fcntl
import os
from pathlib import Path


def made_once(factory, name: str, make) -> Path:
    """The folder that `make(folder)` fills, in whichever process needs it first; the others wait for it.

    Args:
        factory: pytest's tmp_path_factory.
        name: of the folder.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # whose own folder is in that of the run
        root = root.parent
    folder = root / name
    with open(root / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = factory.mktemp(name)
            make(unfinished)
            unfinished.rename(folder)
    return folder
