"""Each tracker by its own package, read back from what it wrote; and one that fails.

SwanLab, W&B and MLflow take 340 MB: where `pip install -e .[trackers]` has not brought them, their tests are skipped.
"""

import logging
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from neonext_ms.errors import UserError
from neonext_ms.training.run.trackers import KINDS, Tracker, Trackers, check_installed
from tests.support.paths import ROOT

PROGRAM = """
import sys
from pathlib import Path
from neonext_ms.training.run.trackers import Trackers

told = Trackers([sys.argv[1]], Path(sys.argv[2]))
told.start({"lr": 0.25, "shifts": [1, 0], "pretrained": None})
told.log("train", epoch=1, step=5, loss=2.5, note="no number")
told.log("eval", epoch=1, step=5, accuracy=0.75)
told.log("train", epoch=1, step=6, loss=1.5)
told.summary({"best": {"accuracy": 0.75, "weights": "ema"}, "devices": 2})
assert list(told.told) == [sys.argv[1]], "it has failed"
told.end()
told.end()
"""


@pytest.fixture
def written(tmp_path):
    """written(kind): the run of a process that has told and ended; these packages start others and set hooks."""

    def write(kind: str) -> Path:
        pytest.importorskip(KINDS[kind].module)
        run = tmp_path / "run 1"
        run.mkdir()
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "MLFLOW"))}
        environment |= {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", PROGRAM, kind, str(run)], env=environment, cwd=tmp_path, text=True)
        assert done.returncode == 0
        assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == ["run 1"]
        return run

    return write


def test_mlflow(written):
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    store = (written("mlflow") / "mlruns").as_uri()
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    (run,) = client.search_runs([client.get_experiment_by_name("neonext_ms").experiment_id])
    assert run.info.run_name == "run 1" and run.info.status == "FINISHED"
    assert run.data.params == {"lr": "0.25", "shifts": "[1, 0]", "pretrained": "None"}
    losses = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in losses] == [(5, 2.5), (6, 1.5)]
    assert run.data.metrics["eval/accuracy"] == 0.75 and "train/note" not in run.data.metrics
    assert run.data.metrics["summary/best/accuracy"] == 0.75 and run.data.metrics["summary/devices"] == 2


def wandb_records(data: bytes):
    """Of LevelDB's log format after a header of 7 bytes: in blocks of 32 KiB checksum, length, type and part."""
    place, whole = 7, b""
    while place + 7 <= len(data):
        if 0x8000 - place % 0x8000 < 7:
            place += 0x8000 - place % 0x8000
        _, length, kind = struct.unpack_from("<IHB", data, place)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # the whole, or the last part
            yield whole
            whole = b""


def test_wandb(written):
    (file,) = (written("wandb") / "wandb").glob("offline-run-*/*.wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    records = [Record.FromString(data) for data in wandb_records(file.read_bytes())]
    run = next(record.run for record in records if record.HasField("run"))
    assert (run.project, run.display_name, run.run_group) == ("neonext_ms", "run 1", "run 1")
    assert {item.key: item.value_json for item in run.config.update if item.key == "lr"} == {"lr": "0.25"}
    history = [
        {"".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    assert [(row["_step"], row["train/loss"]) for row in history] == [("5", "2.5"), ("6", "1.5")]
    assert history[0]["eval/accuracy"] == "0.75"
    summary = {
        "".join(item.nested_key) or item.key: item.value_json for r in records for item in r.summary.update if item
    }
    assert summary["summary/best/accuracy"] == "0.75"


def test_swanlab(written):
    (run,) = (written("swanlab") / "swanlab").glob("run-*")
    config = yaml.safe_load((run / "files" / "config.yaml").read_text())
    assert config["lr"]["value"] == 0.25 and config["summary/best/accuracy"]["value"] == 0.75
    (file,) = run.glob("*.swanlab")
    data = file.read_bytes()
    assert data.count(b"train/loss") >= 2 and b"eval/accuracy" in data and b"train/note" not in data


class Broken(Tracker):
    """Fails from the second event on."""

    def log(self, step, values):
        if step > 1:
            raise OSError(f"no route to host\nat step {step}")


class Noting(Tracker):
    def start(self, config):
        self.steps = []

    def log(self, step, values):
        self.steps.append((step, values))


def test_one_that_fails_warns_once_and_the_others_go_on(tmp_path, caplog, monkeypatch):
    monkeypatch.setitem(KINDS, "broken", Broken)
    monkeypatch.setitem(KINDS, "noting", Noting)
    told = Trackers(["broken", "noting"], tmp_path)
    noting = told.told["noting"]
    told.start({})
    with caplog.at_level(logging.WARNING):
        for step in (1, 2, 3):
            told.log("train", step=step, loss=1)
    assert noting.steps == [(step, {"train/loss": 1.0}) for step in (1, 2, 3)]
    assert [record.getMessage() for record in caplog.records] == [
        "broken failed and is told nothing more, the run goes on: no route to host"
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_is_not_installed_is_told_before_a_run_begins(kind, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"{kind}.* needs {KINDS[kind].package}, which is not installed"):
        check_installed([kind])
