"""A function in a process of its own: what it raises is told, and that it was killed is another thing."""

import os
import signal

import pytest

from neonext_ms.errors import WorkerDied
from neonext_ms.runtime.fresh_process import FreshProcessError, run_in_fresh_process


def leave(how: str):
    if how == "raise":
        raise LookupError("nothing there")
    os.kill(os.getpid(), int(how))


def test_a_process_that_was_killed_is_no_mistake_in_what_was_asked_for(tmp_path):
    """For lack of memory, as a rule: a job that is started again may succeed."""
    with pytest.raises(WorkerDied, match="^the process that checks the result was ended by a SIGKILL, .* of memory"):
        run_in_fresh_process(leave, str(int(signal.SIGKILL)), folder=tmp_path)


def test_what_it_raises_is_told_by_its_last_line(tmp_path):
    with pytest.raises(FreshProcessError, match="^LookupError: nothing there$"):
        run_in_fresh_process(leave, "raise", folder=tmp_path)
    with pytest.raises(FreshProcessError, match="^exit code -6$"):
        run_in_fresh_process(leave, str(int(signal.SIGABRT)), folder=tmp_path)
