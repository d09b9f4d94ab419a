"""What the operating system says about processes: identity, state, and those that a former job left."""

import ctypes
import os
import signal
import socket
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans():
    """Make this process the parent of its descendants whose own parent ends, so that it learns their exit codes."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "this system cannot make a process adopt orphans")


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the third, the state, on (the second, the name, may hold spaces)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def identity(pid: int) -> str:
    """Process id, start time in clock ticks since boot, and host: no two processes share it until a reboot."""
    return f"{pid} {_stat(pid)[19]} {socket.gethostname()}"


def state(pid: int) -> str:
    """R running, S or D waiting, T stopped, Z ended; "" if there is no such process."""
    try:
        return _stat(pid)[0]
    except OSError:
        return ""


def left_over(run: Path) -> list[tuple[str, int]]:
    """(role, process id) of the processes on this host that earlier starts in a run folder noted and that live on."""
    found = []
    for note in sorted(run.glob("logs/*/*.pid")):
        text = note.read_text().strip()
        try:
            pid = int(text.split()[0])
            if identity(pid) == text and state(pid) not in "ZX":
                found.append((note.stem.replace("_", " "), pid))
        except (OSError, ValueError, IndexError):
            continue  # ended, or never complete
    return found


def kill_descendants(seconds: float) -> list[int]:
    """Kill every process that this one has started or adopted, with what those have started, and wait for their end.

    Returns:
        those that live on after so many seconds: a process that waits for a device inside a driver cannot be killed.
    """
    end = time.monotonic() + seconds
    while children := [int(pid) for task in Path("/proc/self/task").iterdir() for pid in _children(task)]:
        if time.monotonic() > end:
            return children
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, os.WNOHANG)  # its own children are ours once it has ended
        time.sleep(0.02)
    return []


def _children(task: Path) -> list[str]:
    try:
        return (task / "children").read_text().split()
    except OSError:  # a thread that has just ended
        return []


def memory() -> tuple[float, float]:
    """Used and total memory of this machine, GB."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    kilobytes = {words[0].rstrip(":"): int(words[1]) for words in lines}
    return (kilobytes["MemTotal"] - kilobytes["MemAvailable"]) / 1e6, kilobytes["MemTotal"] / 1e6
