"""The last checkpoint of a run that the disk does not take: tried again, and else told, without loss of the result."""

import errno
import functools
import json
import logging
import os
import signal
import threading

import pytest

from neonext_ms.checkpoint.store import numbered, step_of
from neonext_ms.cli import COMMANDS, main
from neonext_ms.errors import UnsavedError, WorkerDied
from neonext_ms.runtime import heartbeat
from neonext_ms.training.run import saver
from neonext_ms.training.trainer import train
from tests.support.stopping import signal_this_run
from tests.support.tiny import EPOCH, SHORT, TinyConfig, events

RUN = {**SHORT, "epochs": 1, "save_steps": 5, "log_interval": 1}


@pytest.fixture
def disk(monkeypatch):
    """disk(step, times) lets the writer's files fail of this checkpoint fail so many times."""
    fsync = os.fsync
    monkeypatch.setattr(saver, "RETRIES", (0.01, 0.01, 0.01))

    def install(step, times):
        left = [times]

        def full(file):
            name = os.readlink(f"/proc/self/fd/{file}")
            if threading.current_thread().name == "checkpoint writer" and f"_{step}.ckpt" in name and left[0]:
                left[0] -= 1
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(file)

        monkeypatch.setattr(os, "fsync", full)

    return install


def steps(run):
    return [step_of(path) for path in numbered(run / "checkpoints")]


def test_the_result_is_there_and_the_run_goes_on_from_the_checkpoint_before(tmp_path, disk, caplog):
    caplog.set_level(logging.INFO)
    run = tmp_path / "run"
    disk(EPOCH, times=4)
    with pytest.raises(UnsavedError) as error:
        train(TinyConfig(**RUN, output_dir=str(run)))
    assert "No space left on device" in str(error.value) and f"--resume {run} goes on" in str(error.value)
    assert "\n" not in str(error.value)
    assert steps(run) == [5, 10] and "best checkpoint" not in caplog.text
    summary, made = json.loads((run / "summary.json").read_text()), events(run, "train", "eval")
    assert summary["final"]["step"] == EPOCH and [event["step"] for event in made] == [*range(1, EPOCH + 1), EPOCH]
    assert len(events(run, "save_failed")) == 3, "each of which was followed by another try"

    disk(EPOCH, times=2)
    again = train(TinyConfig(**RUN, resume=str(run)))
    assert again["final"] == summary["final"] and again["best"] == summary["best"]
    assert steps(run) == [5, 10, EPOCH] and "best checkpoint" in caplog.text
    assert events(run, "train", "eval") == made
    assert len(events(run, "save_failed")) == 3 + 2


def test_a_stop_that_cannot_be_saved_says_so(tmp_path, disk, monkeypatch):
    disk(3, times=4)

    def stop(step=None):
        if step == 3:
            signal_this_run(signal.SIGTERM)

    monkeypatch.setattr(heartbeat, "beat", stop)
    with pytest.raises(UnsavedError, match="SIGTERM has stopped the run after update 3 of 11, but this could not be"):
        train(TinyConfig(**RUN, output_dir=str(tmp_path / "run")))


@pytest.mark.parametrize("error, code", [(UnsavedError, 1), (WorkerDied, 71)])
def test_the_command_ends_with_one_line_and_a_code_with_which_a_job_is_started_again(monkeypatch, capsys, error, code):
    @functools.wraps(COMMANDS["env"])
    def fail():
        raise error("this went wrong, and another start may help")

    monkeypatch.setitem(COMMANDS, "env", fail)
    with pytest.raises(SystemExit) as end:
        main(["env"])
    assert end.value.code == code
    assert capsys.readouterr().err == "neonext: error: this went wrong, and another start may help\n"
