"""What is a run and what is not, where new ones go, and with which configuration one goes on."""

import shlex
import time
from dataclasses import replace
from pathlib import Path

import pytest

from neonext_ms.commands.parser import parse
from neonext_ms.errors import UserError
from neonext_ms.runtime.run_folder import holds_run
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.run.folder import RunFolder, open_folder
from neonext_ms.training.run.resume import find_resume

CONFIG = TrainConfig(lr=0.5, epochs=7)
START = '{"event": "compile", "time": 1.0, "seconds": 2.0}\n{"event": "resume", "time": 2.0, "checkpoint": null}\n'
REPORT = '{"event": "train", "time": 3.0, "step": 1, "loss": 2.0}\n'


class Beginning:
    """The state of a run before its first update."""

    step = evaluated = 0


def make(folder: Path, **files: str) -> Path:
    """A folder with these files; a name with two underscores is one in a folder."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


OURS = CONFIG.to_yaml()


@pytest.mark.parametrize(
    "files, found",
    [
        ({}, None),
        ({"config_yaml": OURS}, None),
        ({"config_yaml": OURS, "metrics_jsonl": START}, None),
        ({"metrics_jsonl": "", "checkpoints__.x.ckpt.0123abcd": ""}, None),
        ({"config_yaml": "lr: 0.1"}, "config.yaml"),
        ({"metrics_jsonl": START + REPORT}, "metrics.jsonl"),
        ({"metrics_jsonl": "mine"}, "metrics.jsonl"),
        ({"config_yaml": OURS, "checkpoints__a-1_1.ckpt": ""}, "checkpoints"),
        ({"summary_json": "{}"}, "summary.json"),
        ({"curves_png": ""}, "curves.png"),
    ],
)
def test_a_start_that_came_to_nothing_is_no_run_and_a_users_file_is_never_replaced(tmp_path, files, found):
    folder = make(tmp_path / "run", **files)
    config = replace(CONFIG, lr=0.25, output_dir=str(folder))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert holds_run(folder) == found
    if found:
        with pytest.raises(UserError, match=f"holds a training run already .{found}.*resume={folder}"):
            open_folder(config, None, None, Beginning)
        assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    else:
        open_folder(config, None, None, Beginning).close()
        assert TrainConfig.from_yaml(folder / "config.yaml").lr == 0.25, "of this start, not of the one before"
        for resume in ("auto", str(folder)):
            assert find_resume(replace(config, resume=resume)) == (None, None)


def test_starts_in_one_second_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: "20260101-120000")
    folders = [open_folder(CONFIG, None, None, Beginning) for _ in range(3)]
    name = "runs/neonext_pico-digits-20260101-120000"
    assert [str(folder.path) for folder in folders] == [name, f"{name}-2", f"{name}-3"]
    for folder in folders:
        folder.close()


def test_a_resumed_run_keeps_as_many_checkpoints_as_it_is_told_now(run):
    folder = open_folder(replace(CONFIG, keep_checkpoint_max=9), run, None, Beginning)
    assert folder.keep == 9
    folder.close()


def test_a_run_in_its_first_update_is_protected_by_its_lock(tmp_path):
    folder = RunFolder(tmp_path / "run", "neonext_pico", keep=2)
    with pytest.raises(UserError, match="another process is writing the run"):
        RunFolder(tmp_path / "run", "neonext_pico", keep=2)
    folder.close()


@pytest.fixture
def run(tmp_path):
    return make(tmp_path / "run", config_yaml=OURS, metrics_jsonl=START + REPORT, **{"checkpoints__a-1_1.ckpt": ""})


def options(*words) -> TrainConfig:
    return parse(["train", *map(str, words)])[1]["config"]


def test_a_resumed_run_takes_its_own_configuration(run, tmp_path, monkeypatch):
    """As the advice is printed: neonext train --resume RUN. What is given besides counts more, wherever it stands."""
    other = make(tmp_path / "other", b_yaml="epochs: 9") / "b.yaml"
    assert options("--resume", run) == replace(CONFIG, resume=str(run))
    assert options(f"--resume={run}", "--num_workers=3") == replace(CONFIG, resume=str(run), num_workers=3)
    assert options("--lr=0.1", "--resume", run) == replace(CONFIG, resume=str(run), lr=0.1)
    assert options("--resume", run, "--lr=0.1", "--config", other).epochs == 9
    checkpoint = run / "checkpoints" / "a-1_1.ckpt"
    assert options("--resume", checkpoint) == replace(CONFIG, resume=str(checkpoint))
    place = ["--resume=auto", f"--output_dir={run}"]
    assert options(*place) == replace(CONFIG, resume="auto", output_dir=str(run))
    assert options("--resume=auto", f"--output_dir={tmp_path / 'none'}", "--lr=0.1").epochs == TrainConfig().epochs
    monkeypatch.chdir(run)
    assert options("--resume", ".").lr == options("--resume", "checkpoints/a-1_1.ckpt").lr == 0.5
    assert options(*shlex.split(f"--resume {run}")).lr == 0.5


def test_a_configuration_never_counts_more_than_an_option(tmp_path):
    file = make(tmp_path / "c", a_yaml="lr: 0.25\nepochs: 3") / "a.yaml"
    for words in (["--config", file, "--lr=0.1"], ["--lr=0.1", "--config", file], ["--lr=0.1", f"--config={file}"]):
        assert (options(*words).lr, options(*words).epochs) == (0.1, 3)
