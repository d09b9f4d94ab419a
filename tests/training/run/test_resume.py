"""A run that was stopped and goes on is the run that was not, to the bit."""

import json
import logging
import os
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from neonext_ms.checkpoint.manifest import manifest_path
from neonext_ms.checkpoint.store import delete_checkpoint, load_checkpoint, numbered, state_path
from neonext_ms.errors import Stopped, UserError
from neonext_ms.runtime import heartbeat
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.inputs import open_sources, train_loader
from neonext_ms.training.run.resume import find_resume, same_run
from neonext_ms.training.trainer import train
from tests.support.stopping import signal_this_run
from tests.support.tiny import EPOCH, SHORT, TinyConfig, events

# Two micro-batches an update, in float16, with averaged weights; checkpoints at 3, 6, 9, ... and after both epochs.
RUN = {**SHORT, "batch_size": 64, "global_batch": 128, "save_steps": 3, "keep_checkpoint_max": 3, "clip_grad": 1.0}
RUN |= {"ema_decay": 0.9, "amp_level": "O2", "loss_scale_window": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def whole(folder):
    """A run that nothing disturbs."""
    train(TinyConfig(**RUN, output_dir=str(folder / "whole")))
    return folder / "whole"


class Beats:
    """Sends SIGTERM to this process at a beat: after an update, or within an evaluation."""

    def __init__(self, monkeypatch):
        self.at = None
        self.delay = 0.0
        self.count = 0
        monkeypatch.setattr(heartbeat, "beat", self)

    def __call__(self, step=None):
        self.count += step is None
        if self.at == (step or f"evaluation {self.count}"):
            self.at = None
            if self.delay:
                threading.Timer(self.delay, os.kill, (os.getpid(), signal.SIGTERM)).start()
            else:
                signal_this_run(signal.SIGTERM)

    def stop(self, at, run: Path, delay=0.0, **options) -> int:
        """Train until it is stopped there; returns the step of the checkpoint that this leaves."""
        self.at, self.delay, self.count = at, delay, 0
        with pytest.raises(Stopped, match="SIGTERM") as stopped:
            train(TinyConfig(**{**RUN, **options}, output_dir=str(run), resume="auto"))
        assert f"--resume {run}" in str(stopped.value)
        return load_checkpoint(numbered(run / "checkpoints")[-1]).manifest["step"]


@pytest.fixture
def beats(monkeypatch):
    return Beats(monkeypatch)


def check_equal(run: Path, whole: Path):
    """Everything of two runs that does not depend on the clock."""
    names = [path.name for path in numbered(whole / "checkpoints")]
    assert [path.name for path in numbered(run / "checkpoints")] == names
    for name in names:
        ours, theirs = (load_checkpoint(r / "checkpoints" / name) for r in (run, whole))
        assert {"moment1.stem.norm.gamma", "beta1_power", "ema.stem.norm.gamma", "loss_scale"} < set(theirs.state)
        for kind in ("weights", "state"):
            a, b = getattr(ours, kind), getattr(theirs, kind)
            assert list(a) == list(b) and all(np.array_equal(a[key], b[key]) for key in b), (name, kind)
        for key in ("best", "final", "updates", "evaluated", "global_batch"):
            assert ours.manifest["training"][key] == theirs.manifest["training"][key], (name, key)
    best, expected = (load_checkpoint(r / "checkpoints" / "neonext_pico_best.ckpt") for r in (run, whole))
    assert all(np.array_equal(best.weights[key], value) for key, value in expected.weights.items())
    assert all(best.manifest[key] == expected.manifest[key] for key in ("metrics", "step"))
    assert events(run, "train", "eval") == events(whole, "train", "eval")
    summaries = [json.loads((r / "summary.json").read_text()) for r in (run, whole)]
    assert all(summaries[0][key] == summaries[1][key] for key in ("best", "final"))


@pytest.mark.slow
def test_stopped_again_and_again(whole, folder, beats):
    """After the first update, in the middle of a report's interval, of an evaluation, of an update, of a save."""
    run = folder / "stopped"
    assert beats.stop(1, run) == 1
    assert beats.stop(6, run) == 6, "which is saved for its own sake too"
    assert beats.stop("evaluation 2", run) == EPOCH
    assert events(run, "eval") == []
    assert EPOCH + 2 <= beats.stop(EPOCH + 2, run, delay=0.01) <= EPOCH + 4
    train(TinyConfig(**{**RUN, "num_workers": 1}, output_dir=str(run), resume="auto"))
    check_equal(run, whole)


def test_stopped_during_a_save_and_without_the_newest_checkpoint(whole, folder, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "neonext_ms")
    run, done = folder / "saving", []
    fsync = os.fsync

    def stop_at_the_seventh(file):
        done.append(file)
        if len(done) == 7:
            assert threading.current_thread() is not threading.main_thread(), "training goes on meanwhile"
            os.kill(os.getpid(), signal.SIGTERM)
        fsync(file)

    monkeypatch.setattr(os, "fsync", stop_at_the_seventh)
    with pytest.raises(Stopped):
        train(TinyConfig(**RUN, output_dir=str(run)))
    monkeypatch.undo()
    *_, before, newest = numbered(run / "checkpoints")
    assert load_checkpoint(newest) and load_checkpoint(before)
    os.truncate(state_path(newest), 1000)
    train(TinyConfig(**RUN, resume=str(run)))
    assert f"passed over: {state_path(newest)} has 1000 bytes" in caplog.text
    assert f"going on from {before}" in caplog.text
    delete_checkpoint(newest)  # the run has made its step again, but has left alone what it could not read
    check_equal(run, whole)


def test_a_finished_run_stays_as_it_is(whole):
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    summary = train(TinyConfig(**RUN, resume=str(whole)))
    assert summary == json.loads((whole / "summary.json").read_text())
    changed = {path.name for path, data in before.items() if path.read_bytes() != data}
    assert changed == {"metrics.jsonl"}, "which says that it was resumed"
    moved = shutil.copytree(whole, whole.with_name("moved"))
    assert train(TinyConfig(**RUN, resume=str(moved))) == {**summary, "run": str(moved)}
    (whole / "summary.json").write_text(json.dumps(summary)[:-9])
    again = train(TinyConfig(**RUN, resume=str(whole)))
    assert again == json.loads((whole / "summary.json").read_text()), "a damaged one is written anew"
    assert all(again[key] == summary[key] for key in ("final", "best", "parameters"))


def test_another_folder_takes_the_rest_of_a_run(whole, folder):
    """From a checkpoint that is not the newest."""
    middle, last = numbered(whole / "checkpoints")[-2:]
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    with pytest.raises(UserError, match="has later checkpoints than .* give an output_dir of its own"):
        train(TinyConfig(**RUN, resume=str(middle)))
    train(TinyConfig(**RUN, resume=str(middle), output_dir=str(folder / "rest")))
    assert before == {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    shutil.copytree(folder / "rest", folder / "all")
    for path in numbered(whole / "checkpoints"):  # those of before it are not copied
        for file in (path, state_path(path), manifest_path(path)):
            if not (folder / "all" / "checkpoints" / file.name).exists():
                shutil.copy(file, folder / "all" / "checkpoints")
    check_equal(folder / "all", whole)


OTHER = {
    "another learning rate": ({"lr": 2e-3}, ["lr was 0.001 and is 0.002"]),
    "another model": ({"model": "neonext_t"}, ["model was neonext_pico and is neonext_t"]),
    "two at once": ({"seed": 3, "epochs": 5}, ["seed was 0 and is 3", "epochs was 2 and is 5"]),
    "another global batch": ({"global_batch": 64}, ["128 images an update", "global_batch=64"]),
}


@pytest.mark.parametrize("case", OTHER)
def test_another_run_is_refused_with_the_difference(whole, case):
    options, words = OTHER[case]
    with pytest.raises(UserError) as error:
        train(TinyConfig(**{**RUN, **options}, resume=str(whole)))
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value), str(error.value)


def test_mistakes(whole, folder, tmp_path):
    cases = [
        ({"resume": "auto"}, "resume=auto goes on with the run in output_dir: name it"),
        ({"resume": str(tmp_path)}, "holds no training run"),
        ({"resume": str(tmp_path / "none")}, "does not exist"),
        ({"resume": str(whole), "output_dir": str(tmp_path / "b")}, "goes on in that folder"),
        ({"resume": str(whole / "checkpoints" / "neonext_pico_best.ckpt")}, "weights only"),
        ({"resume": str(whole / "config.yaml")}, "no manifest"),
    ]
    for options, words in cases:
        with pytest.raises(UserError, match=words):
            train(TinyConfig(**RUN, **options))
    assert not (tmp_path / "b").exists()
    for resume in ("auto", str(tmp_path)):
        assert find_resume(TinyConfig(**RUN, resume=resume, output_dir=str(tmp_path))) == (None, None)
    (tmp_path / "config.yaml").touch()
    assert find_resume(TinyConfig(**RUN, resume=str(tmp_path))) == (tmp_path, None), "killed before a checkpoint"


def order(config: TinyConfig, world: int, steps: range) -> list[list[int]]:
    """Samples of these updates, over all ranks in order."""
    source, _ = open_sources(config)
    plans = [train_loader(config, source, Ranks(rank, world, "CPU")) for rank in range(world)]
    batches = zip(*(loader.epoch(0, steps.start) for loader in plans))
    return [np.concatenate([part.indices for part in parts]).tolist() for _, parts in zip(steps, batches)]


@pytest.mark.parametrize("sizes", [(64, 64, 64), (64, 16, 32)])
def test_two_ranks_then_one_then_two_see_the_same_samples(whole, sizes):
    """Whatever batch a device takes now: the run's 128 images an update stay."""
    checkpoint = load_checkpoint(numbered(whole / "checkpoints")[0])
    data, found = checkpoint.manifest["training"]["data"], []
    for world, size, steps in zip((2, 1, 2), sizes, (range(4), range(4, 7), range(7, EPOCH))):
        given = TinyConfig(**{**RUN, "batch_size": size, "global_batch": None})
        config = same_run(given, world, checkpoint, data)
        assert config.batch_size == size and config.micro_batches(world) == 128 // size // world
        found += order(config, world, steps)
    assert found == order(TinyConfig(**RUN), 2, range(EPOCH))
    assert len(set(sum(found, []))) == 128 * EPOCH


def test_ranks_that_cannot_share_the_batch(whole):
    checkpoint = load_checkpoint(numbered(whole / "checkpoints")[0])
    data = checkpoint.manifest["training"]["data"]
    given = TinyConfig(**{**RUN, "batch_size": 100, "global_batch": None})
    assert same_run(given, 1, checkpoint, data).batch_size == 64, "the largest that fits"
    with pytest.raises(UserError, match="128 images an update, which 3 ranks cannot share evenly"):
        same_run(given, 3, checkpoint, data)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"samples": 1500}, "the training data had 1437 samples and have 1500"),
        ({"listing": "0"}, "the samples of the training data are others, or in another order"),
    ],
)
def test_other_data_are_refused(whole, change, words):
    checkpoint = load_checkpoint(numbered(whole / "checkpoints")[0])
    data = checkpoint.manifest["training"]["data"]
    changed = {**data, "training": {**data["training"], **change}}
    with pytest.raises(UserError, match=words):
        same_run(TinyConfig(**RUN), 1, checkpoint, changed)
