"""What an older version wrote is read: tests/fixtures/old_run, made before checkpoints had cards (commit 7448f23).

It is a run of two blocks on the digits, with EMA, stopped after update 6 of 11, and its export. The figures below are
those that the older version gave for it.
"""

import json
import shutil

import numpy as np
import pytest

from neonext_ms.checkpoint.store import numbered
from neonext_ms.data import open_source
from neonext_ms.deploy import Classifier, export_model
from neonext_ms.deploy.validate import validate
from neonext_ms.training.trainer import train
from tests.support.paths import FIXTURES
from tests.support.tiny import SHORT, TinyConfig

OLD = FIXTURES / "old_run"
CHECKPOINT = OLD / "checkpoints" / "neonext_pico-1_6.ckpt"
LOGITS = [
    [-0.856487, 1.393075, 0.377242, -0.163025, -0.356409],
    [-0.439293, -0.16962, 0.240732, -1.666258, 1.162926],
]


@pytest.mark.parametrize("model", [CHECKPOINT, OLD / "old.mindir"])
def test_old_files_give_the_old_figures(model):
    result = validate(model, "CPU", batch_size=60)
    assert result["loss"] == pytest.approx(2.430801, abs=2e-6)
    assert (result["accuracy"], result["top5_accuracy"], result["images"]) == (0.1, pytest.approx(200 / 360), 360)
    classifier = Classifier.open(model)
    source = open_source("digits", None, "val")
    logits = classifier.logits(np.stack([classifier.preprocess(source.image(i)) for i in range(2)]))
    assert logits[:, :5] == pytest.approx(np.array(LOGITS), abs=1e-5)


def test_an_old_checkpoint_is_exported(tmp_path):
    card = export_model(CHECKPOINT, tmp_path / "new.mindir", batch_size=None)
    old = json.loads((OLD / "old.mindir.json").read_text())
    assert {key: card[key] for key in old if key not in ("file", "verification", "versions")} == {
        key: old[key] for key in old if key not in ("file", "verification", "versions")
    }


def test_an_old_run_goes_on(tmp_path):
    run = shutil.copytree(OLD, tmp_path / "run")
    config = TinyConfig(**{**SHORT, "epochs": 1}, save_steps=6, ema_decay=0.9, keep_checkpoint_max=1, resume=str(run))
    summary = train(config)
    assert summary["final"]["step"] == 11 and summary["final"]["images"] == 360
    assert [path.name for path in numbered(run / "checkpoints")] == ["neonext_pico-1_11.ckpt"]
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps if line["event"] == "train"] == [4, 8, 11]
