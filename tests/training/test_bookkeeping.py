"""What a run notes about itself, against numbers written by hand: rates, evaluations, saves, the best weights."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from neonext_ms.checkpoint.network import load_network
from neonext_ms.checkpoint.store import load_checkpoint, numbered, step_of
from neonext_ms.evaluation.evaluate import evaluate
from neonext_ms.evaluation.step import EvalStep
from neonext_ms.runtime import heartbeat
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.run import saver
from neonext_ms.training.step import StepMetrics, TrainStep
from neonext_ms.training.trainer import train
from tests.support.tiny import TinyConfig, assembled, events

# Five updates an epoch; three of warm-up; a peak rate of 0.2 * 256 / 512 = 0.1, at which averaged weights are the best.
RUN = {"epochs": 3, "batch_size": 256, "eval_batch_size": 180, "num_workers": 0, "log_interval": 1, "val_interval": 2}
RUN |= {"warmup_epochs": 0.6, "lr": 0.2, "lr_base_batch": 512, "min_lr": 0.05, "optimizer": "adamw"}
RUN |= {"ema_decay": 0.8, "save_minutes": 1.0, "keep_checkpoint_max": 30}
# A rise to the peak, then 0.05 + 0.05 (1 + cos(pi k / 12)) / 2 for k = 0 to 11.
RATES = [0.0333333, 0.0666667, 0.1, 0.1, 0.0991481, 0.0966506, 0.0926777, 0.0875, 0.0814705, 0.075]
RATES += [0.0685295, 0.0625, 0.0573223, 0.0533494, 0.0508519]
SECONDS = 25.0  # that an update takes by the test's clock


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(folder, what every update was given and said, by step) of a run by a clock of the test's own."""
    now, made = [0.0], []
    folder = tmp_path_factory.mktemp("bookkeeping") / "run"
    call = TrainStep.__call__

    def watched(self, images, targets, drop_path, lr, *others):
        result = call(self, images, targets, drop_path, lr, *others)
        made.append((lr, StepMetrics.read(result)))
        return result

    def pass_time(step=None):
        now[0] += SECONDS * (step is not None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainStep, "__call__", watched)
        patch.setattr(heartbeat, "beat", pass_time)
        patch.setattr(saver, "time", SimpleNamespace(monotonic=lambda: now[0]))
        patch.setenv(heartbeat.VARIABLE, str(folder.with_suffix(".beat")))
        heartbeat._file.cache_clear()
        train(TinyConfig(**RUN, output_dir=str(folder)))
    heartbeat._file.cache_clear()
    return folder, made


def test_a_launcher_is_told_that_the_work_is_done(run):
    assert heartbeat.read(run[0].with_suffix(".beat")) == heartbeat.Beat(done=True)


def test_every_update_gets_the_rate_of_its_step_and_the_log_says_so(run):
    folder, made = run
    logged = events(folder, "train")
    assert [event["step"] for event in logged] == list(range(1, 16))
    assert [event["epoch"] for event in logged] == [1] * 5 + [2] * 5 + [3] * 5
    np.testing.assert_allclose([lr for lr, _ in made], RATES, rtol=1e-5)
    np.testing.assert_allclose([event["lr"] for event in logged], RATES, rtol=1e-5)


def test_the_log_says_what_the_updates_said(run):
    folder, made = run
    for event, (_, said) in zip(events(folder, "train"), made, strict=True):
        assert event["loss"] == pytest.approx(said.loss) and event["gradient_norm"] == pytest.approx(said.gradient_norm)
        assert event["accuracy"] == said.correct / 256 and event["skipped"] == 0


def test_evaluations_come_after_epochs_two_and_three(run):
    assert [(event["epoch"], event["step"]) for event in events(run[0], "eval")] == [(2, 10), (3, 15)]


def test_checkpoints_come_when_a_minute_is_over_and_with_evaluations(run):
    """75 s after the last one, as an update takes 25 s; the evaluation after step 10 saves too and begins anew."""
    assert [step_of(path) for path in numbered(run[0] / "checkpoints")] == [3, 6, 9, 10, 13, 15]


def test_a_checkpoint_between_evaluations_carries_no_metrics(run):
    manifests = {step_of(path): load_checkpoint(path).manifest for path in numbered(run[0] / "checkpoints")}
    assert [bool(manifest["metrics"]) for manifest in manifests.values()] == [False, False, False, True, False, True]
    assert [manifest["epoch"] for manifest in manifests.values()] == [1, 2, 2, 2, 3, 3]


def evaluated(path):
    """Accuracy and loss of a checkpoint's weights on the validation images."""
    job = assembled(TinyConfig(**RUN))
    return evaluate(EvalStep(load_network(path)[0]), job.val_loader, Ranks(0, 1, "CPU"))


def test_the_best_checkpoint_holds_the_weights_that_its_figures_are_of(run):
    folder, _ = run
    path = folder / "checkpoints" / "neonext_pico_best.ckpt"
    manifest = json.loads((folder / "checkpoints" / f"{path.name}.json").read_text())
    best = json.loads((folder / "summary.json").read_text())["best"]
    assert manifest["weights"] == best["weights"] == "ema", "of which this test is"
    found = evaluated(path)
    for key in ("accuracy", "loss"):
        assert manifest["metrics"][key] == best[key] == pytest.approx(found[key], rel=1e-6)
    (event,) = (event for event in events(folder, "eval") if event["step"] == best["step"])
    assert event["ema_accuracy"] == best["accuracy"]


def test_a_numbered_checkpoint_holds_the_raw_weights(run):
    folder, _ = run
    event = events(folder, "eval")[-1]
    found = evaluated(numbered(folder / "checkpoints")[-1])
    assert event["accuracy"] == found["accuracy"] and event["loss"] == pytest.approx(found["loss"], rel=1e-6)
    assert event["ema_loss"] != pytest.approx(found["loss"], rel=1e-3)
