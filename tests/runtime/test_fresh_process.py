"""A function in a process of its own: what it raises is told, and that it was killed is another thing."""

import os
import signal

import pytest

from neonext_ms.errors import WorkerDied
from neonext_ms.runtime.fresh_process import FreshProcessError, run_in_fresh_process
from neonext_ms.runtime.ranks import SIMULATION


def leave(how: str):
    if how == "raise":
        raise LookupError("nothing there")
    os.kill(os.getpid(), int(how))


def tell_of_the_job():
    raise LookupError(sorted(name for name in os.environ if name.startswith(("MS_", "RANK_"))))


def test_a_process_that_was_killed_is_no_mistake_in_what_was_asked_for(tmp_path):
    """For lack of memory, as a rule: a job that is started again may succeed."""
    with pytest.raises(WorkerDied, match="^the process that checks the result was ended by a SIGKILL, .* of memory"):
        run_in_fresh_process(leave, str(int(signal.SIGKILL)), folder=tmp_path)


def test_what_it_raises_is_told_by_its_last_line(tmp_path):
    with pytest.raises(FreshProcessError, match="^LookupError: nothing there$"):
        run_in_fresh_process(leave, "raise", folder=tmp_path)
    with pytest.raises(FreshProcessError, match="^exit code -6$"):
        run_in_fresh_process(leave, str(int(signal.SIGABRT)), folder=tmp_path)


def test_it_is_no_rank_of_the_job_that_starts_it_but_as_simulated(tmp_path, monkeypatch):
    for name, value in {"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "2", "RANK_ID": "1", "RANK_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(FreshProcessError, match=r"^LookupError: \[\]$"):
        run_in_fresh_process(tell_of_the_job, folder=tmp_path)
    monkeypatch.setenv(SIMULATION, "1")
    with pytest.raises(FreshProcessError, match=rf"^LookupError: \['{SIMULATION}', 'RANK_ID'\]$"):
        run_in_fresh_process(tell_of_the_job, folder=tmp_path)
