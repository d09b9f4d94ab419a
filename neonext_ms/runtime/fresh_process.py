"""A function in a process of its own, which shows what it does without anything that this process holds."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from neonext_ms.errors import WorkerDied
from neonext_ms.runtime.ranks import SIMULATION

_START = "import sys; from {module} import {name}; {name}(*sys.argv[1:])"


class FreshProcessError(Exception):
    """It ended with an error; the message is the last line that it wrote to its standard error."""


def run_in_fresh_process(function: Callable, *arguments: str, folder: Path, standard_input: str = ""):
    """Call a module's function with texts, in a new Python that works in `folder`, as one process without others.

    Args:
        standard_input: what it can read there: neither its arguments nor its environment are hidden from other users.

    Raises:
        FreshProcessError: it raised something, or ended otherwise.
        WorkerDied: it was killed.
    """
    # The package need not be installed: it may have been imported from the working directory, which is another one now.
    root = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    # Whatever told this process that it is one of several workers is not true of the new one; a simulated device is.
    alone = {key: value for key, value in os.environ.items() if not key.startswith(("MS_", "RANK_"))}
    if SIMULATION in os.environ:
        alone |= {SIMULATION: os.environ[SIMULATION], "RANK_ID": "0"}
    process = subprocess.run(
        [sys.executable, "-c", _START.format(module=function.__module__, name=function.__name__), *arguments],
        cwd=folder,
        input=standard_input,
        env={**alone, "PYTHONPATH": paths, "GLOG_v": os.environ.get("GLOG_v", "3")},
        capture_output=True,
        text=True,
    )
    if process.returncode == -signal.SIGKILL:
        raise WorkerDied(
            "the process that checks the result was ended by a SIGKILL, which the system sends for lack of memory: "
            "try again when there is more"
        )
    if process.returncode:
        lines = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
        raise FreshProcessError(lines[-1])
