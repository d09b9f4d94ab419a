"""Training runs: what they write, and that they repeat to the bit."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from neonext_ms.checkpoint.store import load_checkpoint
from neonext_ms.errors import DivergedError, UserError
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.run import progress as module_of_progress
from neonext_ms.training.run.folder import RunFolder
from neonext_ms.training.run.progress import Progress, duration
from neonext_ms.training.trainer import train
from tests.support.cards import CARD
from tests.support.tiny import TinyConfig

SHORT = {"epochs": 2, "batch_size": 256, "eval_batch_size": 180, "random_crop": "pad", "mixup": 0.5}
SHORT |= {"drop_path_rate": 0.2, "ema_decay": 0.5}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of one configuration, except for the number of loader processes."""
    folder = tmp_path_factory.mktemp("runs")
    summaries = [
        train(TinyConfig(**SHORT, num_workers=n, output_dir=str(folder / name))) for name, n in (("a", 1), ("b", 2))
    ]
    return folder / "a", folder / "b", summaries


def test_the_same_seed_gives_the_same_weights_to_the_bit(runs):
    a, b, _ = runs
    for name in ("neonext_pico_best.ckpt", "neonext_pico-2_10.ckpt"):
        first, second = (load_checkpoint(run / "checkpoints" / name).weights for run in (a, b))
        assert all(np.array_equal(first[key], second[key]) for key in first)


def test_run_folder(runs):
    a, _, (summary, _) = runs
    assert {p.name for p in a.iterdir()} == {*("config.yaml", "metrics.jsonl", "summary.json", "checkpoints", ".lock")}
    assert json.loads((a / "summary.json").read_text()) == summary
    events = [json.loads(line) for line in (a / "metrics.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events] == ["compile", "train", "eval", "train", "eval"]
    assert [e["step"] for e in events if "step" in e] == [5, 5, 10, 10]
    assert summary["final"]["images"] == 360 and summary["parameters"] == 5522
    evaluations = [e for e in events if e["event"] == "eval"]
    best = max((e[f"{prefix}accuracy"], kind) for e in evaluations for prefix, kind in (("", "raw"), ("ema_", "ema")))
    manifest = load_checkpoint(a / "checkpoints" / "neonext_pico_best.ckpt").manifest
    assert (summary["best"]["accuracy"], summary["best"]["weights"]) == best
    assert (manifest["metrics"]["accuracy"], manifest["weights"]) == best
    assert all(e["skipped"] == 0 and e["gradient_norm"] > 0 for e in events if e["event"] == "train")
    assert summary["compile_seconds"] > 0 and summary["milliseconds_per_step"] > 0
    assert 0 <= summary["data_wait"] < 1 and all(0 <= e["data_wait"] < 1 for e in events if e["event"] == "train")
    config = TinyConfig.from_yaml(a / "config.yaml")
    assert config == TinyConfig(**SHORT, num_workers=1), "the same run again, in a folder of its own"
    assert set(yaml.safe_load((a / "config.yaml").read_text())) == set(TrainConfig.__dataclass_fields__)


def test_a_second_run_never_touches_the_first(runs):
    a, _, _ = runs
    before = {p: p.stat().st_mtime_ns for p in a.rglob("*")}
    with pytest.raises(UserError, match="holds a training run already"):
        train(TinyConfig(**SHORT, output_dir=str(a)))
    assert before == {p: p.stat().st_mtime_ns for p in a.rglob("*")}


def test_a_diverged_run_stops_and_says_so(tmp_path):
    with pytest.raises(DivergedError, match=r"in a row were skipped, the last at step \d+ .* lower lr"):
        train(TinyConfig(epochs=1, batch_size=64, optimizer="sgd", lr=1e30, warmup_epochs=0, output_dir=str(tmp_path)))


def test_only_the_newest_and_the_best_checkpoints_stay(tmp_path):
    folder = RunFolder(tmp_path / "run", "neonext_pico", keep=2)
    for epoch in (1, 2, 3, 4):
        weights = {"a": np.full(3, epoch, np.float32)}
        card = {"epoch": epoch, "step": 10 * epoch, **CARD}
        folder.save(weights, {}, card, best=(weights, card) if epoch == 1 else None)
    names = {p.name for p in folder.checkpoints.glob("*_*.ckpt") if ".state" not in p.name}
    assert names == {"neonext_pico-3_30.ckpt", "neonext_pico-4_40.ckpt", "neonext_pico_best.ckpt"}
    assert load_checkpoint(folder.best).weights["a"].tolist() == [1, 1, 1]


def test_a_second_writer_is_refused(tmp_path):
    folder = RunFolder(tmp_path / "run", "neonext_pico", keep=2)
    with pytest.raises(UserError, match="another process is writing the run"):
        RunFolder(tmp_path / "run", "neonext_pico", keep=2, resume=True)
    folder.close()
    RunFolder(tmp_path / "run", "neonext_pico", keep=2, resume=True).close()


def test_files_of_others_in_a_run_folder_stay(tmp_path):
    folder = RunFolder(tmp_path / "run", "neonext_pico", keep=2)
    folder.close()
    others = [folder.path / ".notes.0123abcd", folder.path / "a.ckpt", folder.checkpoints / "mine-3.ckpt"]
    ours = [folder.checkpoints / ".neonext_pico_best.ckpt.0123abcd", folder.path / ".config.yaml.0123abcd"]
    for file in others + ours:
        file.touch()
    RunFolder(folder.path, "neonext_pico", keep=2, resume=True).rewind(0, evaluated=False)
    assert all(file.exists() for file in others) and not any(file.exists() for file in ours)


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"batch_size": 0}, ["batch_size", "at least 1", "0"]),
        ({"lr": 0.0}, ["lr", "above 0"]),
        ({"lr": 1e-3, "min_lr": 1e-2}, ["min_lr", "0.01"]),
        ({"epochs": 2, "warmup_epochs": 3}, ["warmup_epochs", "3", "2"]),
        ({"drop_path_rate": 1.0}, ["drop_path_rate", "below 1"]),
        ({"seed": -1}, ["seed", "-1"]),
        ({"clip_grad": -1.0}, ["clip_grad", "-1.0"]),
        ({"global_batch": 0}, ["global_batch", "at least 1", "0"]),
        ({"layer_decay": 0.0}, ["layer_decay", "above 0", "0.0"]),
        ({"ema_decay": 1.0}, ["ema_decay", "below 1", "1.0"]),
        ({"loss_scale": 0.5}, ["loss_scale", "at least 1", "0.5"]),
    ],
)
def test_impossible_configurations(wrong, words):
    with pytest.raises(UserError) as error:
        TrainConfig(**wrong)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_micro_batches_make_up_the_global_batch():
    assert [TrainConfig(batch_size=32, global_batch=256).micro_batches(world) for world in (1, 2, 8)] == [8, 4, 1]
    assert TrainConfig(batch_size=32).micro_batches(64) == 1
    for world, global_batch in ((3, 256), (16, 256), (1, 250)):
        with pytest.raises(UserError, match=rf"global_batch \(={global_batch}\) .*=32 x {world}"):
            TrainConfig(batch_size=32, global_batch=global_batch).micro_batches(world)


def test_the_linear_scaling_rule():
    config = TrainConfig(batch_size=32, global_batch=1024, lr=1e-3, lr_base_batch=512)
    assert config.peak_lr(8) == config.peak_lr(1) == 2e-3
    assert TrainConfig(batch_size=32, lr=1e-3, lr_base_batch=512).peak_lr(4) == 1e-3 * 128 / 512
    assert TrainConfig(batch_size=32, lr=1e-3).peak_lr(4) == 1e-3


def test_progress_counts_steps_and_evaluations():
    progress = Progress(steps=10, evaluations=2, images_per_step=32)
    progress.begin()
    rate, wait = progress.steps(5, 0.0)
    assert rate > 0 and progress.images_per_second == pytest.approx(rate) and wait == 0
    progress.begin()
    progress.evaluation()
    assert re.fullmatch(r"\d+:\d\d", progress.left)
    assert (duration(59.6), duration(125), duration(3723)) == ("1:00", "2:05", "1:02:03")


def test_the_time_left_is_by_the_average_step_and_evaluation(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module_of_progress, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    progress = Progress(steps=10, evaluations=3, images_per_step=32)
    progress.begin()
    now[0] += 20
    assert progress.steps(4, 0.0) == (6.4, 0.0) and progress.left == "0:30", "6 steps of 5 s"
    now[0] += 100  # which are nobody's
    progress.begin()
    now[0] += 7
    assert progress.evaluation() == 7 and progress.left == "0:44", "and two evaluations"
    progress.begin()
    now[0] += 28
    assert progress.steps(1, 0.0)[0] == pytest.approx(32 / 28) and progress.left == "1:02", "5 steps of 9.6 s"
    assert progress.milliseconds_per_step == 9600 and progress.images_per_second == pytest.approx(32 / 9.6)
