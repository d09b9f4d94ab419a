"""What is not a number, or a spike, changes nothing, is logged with its samples, and ends the run when it stays."""

import errno
import os
import threading

import numpy as np
import pytest

from neonext_ms.checkpoint.store import load_checkpoint, numbered, step_of
from neonext_ms.data import Loader
from neonext_ms.errors import DivergedError
from neonext_ms.training.trainer import train
from tests.support.tiny import SHORT, TinyConfig, events

RUN = {**SHORT, "epochs": 1, "batch_size": 60, "save_steps": 1, "keep_checkpoint_max": 30, "skip_spikes": True}
STEPS = 23  # of an epoch, 1437 // 60


@pytest.fixture
def poison(monkeypatch):
    """Spoils the batches of steps, by {step: function(images, targets)}; returns the samples in them, by step."""
    epoch = Loader.epoch

    def install(poisons):
        samples = {}

        def spoiled(self, *position):
            for step, batch in enumerate(epoch(self, *position), 1):
                if self._plan.training and step in poisons:
                    poisons[step](batch.images, batch.targets)
                    samples[step] = [f"digits/train[{index}]" for index in batch.indices]
                yield batch

        monkeypatch.setattr(Loader, "epoch", spoiled)
        return samples

    return install


def nan_in_an_image(images, targets):
    images[5, 1, 3, 3] = np.nan


def infinite_target(images, targets):
    targets[7] = np.inf


def far_off(images, targets):
    targets *= 1000


def test_bad_updates_change_nothing_and_are_logged(poison, tmp_path, caplog):
    samples = poison({3: nan_in_an_image, 4: infinite_target, STEPS: far_off})
    train(TinyConfig(**RUN, output_dir=str(tmp_path / "run")))
    found = {c.manifest["step"]: c for c in map(load_checkpoint, numbered(tmp_path / "run" / "checkpoints"))}
    assert len(found) == STEPS
    for step in range(2, STEPS + 1):
        a, b = found[step - 1], found[step]
        same = [np.array_equal(a.weights[key], b.weights[key]) for key in a.weights]
        same += [np.array_equal(a.state[key], b.state[key]) for key in a.state]
        assert all(same) if step in (3, 4, STEPS) else not all(same), step
    skipped = events(tmp_path / "run", "skipped")
    assert [(e["step"], e["loss"]) for e in skipped[:2]] == [(3, "nan"), (4, "inf")]
    assert skipped[2]["step"] == STEPS and "spike" in skipped[2]["reason"] and skipped[2]["loss"] > 1000
    assert {e["step"]: e["samples"] for e in skipped} == samples and len(set(samples[3])) == 60
    assert "step 3: the loss is nan, the update is skipped" in caplog.text
    reports = events(tmp_path / "run", "train")
    assert [e["skipped"] for e in reports] == [2, 0, 0, 0, 0, 1] and all(e["loss"] < 5 for e in reports)


def test_too_many_in_a_row_end_the_run(poison, tmp_path, monkeypatch):
    """With a checkpoint after every update, by the clock, of which the disk has no room for one."""
    poison(dict.fromkeys(range(6, STEPS), nan_in_an_image))
    fsync, calls = os.fsync, []

    def full_for_a_while(file):
        if threading.current_thread().name == "checkpoint writer":
            calls.append(file)
            if len(calls) == 8:  # of the second checkpoint; each needs seven
                raise OSError(errno.ENOSPC, "No space left on device")
        fsync(file)

    monkeypatch.setattr(os, "fsync", full_for_a_while)
    with pytest.raises(DivergedError, match=r"3 updates in a row .* step 8 .* digits/train\[\d+\], .* 57 more"):
        options = {**RUN, "save_steps": 0, "save_minutes": 1e-9, "max_bad_updates": 3}
        train(TinyConfig(**options, output_dir=str(tmp_path / "run")))
    paths = numbered(tmp_path / "run" / "checkpoints")
    assert [step_of(path) for path in paths] == [1, 3, 4, 5, 6, 7]
    (failed,) = events(tmp_path / "run", "save_failed")
    assert "No space left" in failed["reason"]
    last = load_checkpoint(paths[-1])
    assert last.manifest["step"] == 7 and all(np.isfinite(value).all() for value in last.weights.values())
    assert [e["step"] for e in events(tmp_path / "run", "skipped")] == [6, 7, 8]
