"""The profile of some updates: a trace of them alone, and a run that a failure does not end."""

import json
import logging

import pytest

from neonext_ms.errors import UserError
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.run.profile import StepProfile
from neonext_ms.training.trainer import train
from tests.support.tiny import SHORT, TinyConfig, events


def test_the_updates_asked_for_are_in_the_trace_and_no_others(tmp_path):
    run = tmp_path / "run"
    train(TinyConfig(**{**SHORT, "epochs": 1, "profile_steps": "3-4", "output_dir": str(run)}))
    assert [path.name for path in (run / "profile").iterdir()] == ["trace-3-4.json"]
    trace = json.loads((run / "profile" / "trace-3-4.json").read_text())["traceEvents"]
    assert all(event["ph"] == "X" and event["dur"] > 0 for event in trace)
    updates, kernels = ([event for event in trace if event["tid"] == track] for track in (1, 0))
    assert [event["name"] for event in updates] == ["update 3", "update 4"]
    begin, end = updates[0]["ts"], updates[1]["ts"] + updates[1]["dur"]
    assert all(begin <= event["ts"] and event["ts"] + event["dur"] <= end for event in kernels)
    inside = [sum(u["ts"] <= event["ts"] < u["ts"] + u["dur"] for event in kernels) for u in updates]
    assert inside[0] == inside[1] > 50, "as many kernels in each"
    assert any("LogSoftmaxGrad" in event["name"] for event in kernels), "MindSpore's names; ours are Custom to it"
    assert len(events(run, "eval")) == 1


def test_a_profile_that_fails_is_a_warning(tmp_path, caplog):
    (tmp_path / "profile").write_text("a file in the place of the folder")
    profile = StepProfile(range(2, 4), tmp_path / "profile", "CPU")
    with caplog.at_level(logging.WARNING):
        for step in (1, 2, 3, 4):
            profile.before(step)
            profile.after(step, lambda: None)
        profile.close()
    (record,) = caplog.records
    assert "the updates are not profiled, the run goes on: [Errno 17] File exists" in record.getMessage()


@pytest.mark.parametrize("text", ["", "0-3", "5-4", "3-", "a", "1-2-3", "-2"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(UserError, match="profile_steps must be a range of updates such as 10-15, counted from 1, got"):
        TrainConfig(profile_steps=text)
    assert TrainConfig(profile_steps="7").profile_steps == "7"
