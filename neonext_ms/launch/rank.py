"""Becomes one rank of a job: binds it to cores, notes its process id for the supervisor, runs `python ARGUMENTS`.

Usage, by msrun or supervise.py: python rank.py LOGS SUPERVISOR_PID CORES ARGUMENTS... . LOGS/<role>.pid gets what
identifies the process; the role is rank_<n>, or scheduler for MindSpore's own. CORES: see cores.py, "" for none.
"""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

from neonext_ms.files import write_atomically
from neonext_ms.launch.cores import parse_cores
from neonext_ms.launch.processes import identity
from neonext_ms.runtime import heartbeat
from neonext_ms.runtime.signals import STOPS

PR_SET_PDEATHSIG = 1


def become_child_of(supervisor: int):
    """Wait until msrun, which starts the ranks, has gone and left them to the supervisor; then end when that ends."""
    first = os.getppid()
    while (parent := os.getppid()) != supervisor:
        if parent != first:
            sys.exit("the supervisor of this rank is gone")
        time.sleep(0.05)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:  # it ended just before
        sys.exit("the supervisor of this rank is gone")


def main():
    logs, supervisor, cores, *arguments = sys.argv[1:]
    role = "scheduler" if os.environ.get("MS_ROLE") == "MS_SCHED" else f"rank_{os.environ.get('RANK_ID', 0)}"
    if cores and role != "scheduler":
        # Of all ranks that msrun starts, which gives them devices 0, 1, ...; else of this one.
        sets = parse_cores(cores)
        os.sched_setaffinity(0, sets[int(os.environ.get("DEVICE_ID", 0)) % len(sets)])
    if role == "scheduler":
        # A cluster may signal all processes of a job. The ranks save then, and need the scheduler until they are done.
        for number in (*STOPS, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)  # which the program inherits
    become_child_of(int(supervisor))
    os.environ[heartbeat.VARIABLE] = str(Path(logs) / f"{role}.beat")
    write_atomically(Path(logs) / f"{role}.pid", identity(os.getpid()) + "\n")  # half a note would end the supervisor
    os.execv(sys.executable, [sys.executable, *arguments])


if __name__ == "__main__":
    main()
