"""The ablation: runs are made once, kept, counted when they diverge, and summed up right."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from neonext_ms.analysis.ablation import RECIPE, ablation
from neonext_ms.analysis.study import mean_and_spread, run_study
from neonext_ms.analysis.study_plots import plot_study
from neonext_ms.analysis.study_report import study_table
from neonext_ms.errors import UserError
from neonext_ms.training.config import TrainConfig
from tests.support.tiny import TinyConfig

SHORT = {**RECIPE, "epochs": 1, "batch_size": 256, "eval_batch_size": 180}


def ablate(config, seeds):
    return run_study(ablation(config), seeds)


def finished(folder, init, seed, accuracies, losses, diverged=None, seconds=10.0):
    """The file of a run that was made before, by a version that told less of it."""
    points = enumerate(zip(accuracies, losses), 1)
    curve = [{"epoch": epoch, "loss": loss, "accuracy": accuracy} for epoch, (accuracy, loss) in points]
    run = {"init": init, "seed": seed, "run": f"{init}-{seed}", "diverged": diverged, "seconds": seconds}
    (folder / f"{init}-{seed}.json").write_text(json.dumps({**run, "curve": curve}))


@pytest.fixture
def begun(tmp_path):
    """An ablation of two seeds, all of whose runs are done."""
    config = TrainConfig(**SHORT, output_dir=str(tmp_path))
    (tmp_path / "config.yaml").write_text(replace(config, neocell_init="neo").to_yaml())
    finished(tmp_path, "neo", 0, [0.5, 0.9], [1.0, 0.4])
    finished(tmp_path, "neo", 1, [0.7, 0.6], [0.8, 0.6])
    finished(tmp_path, "normal", 0, [0.3], [2.0], diverged="the loss is nan at step 30")
    finished(tmp_path, "normal", 1, [0.2, 0.4], [2.0, 1.5])
    return config, tmp_path


def test_what_is_done_is_kept_and_summed_up(begun, caplog):
    caplog.set_level("INFO", "neonext_ms")
    config, folder = begun
    before = {path: path.read_bytes() for path in folder.iterdir()}
    result = ablate(config, seeds=2)
    assert before == {path: path.read_bytes() for path in folder.iterdir()}
    neo, normal = result["table"]
    assert (neo["runs"], neo["diverged"], normal["runs"], normal["diverged"]) == (2, 0, 2, 1)
    assert neo["accuracy"] == pytest.approx({"mean": 0.75, "spread": math.sqrt(2 * 0.15**2)})
    assert neo["loss"]["mean"] == pytest.approx(0.5)
    assert normal["accuracy"] == {"mean": 0.4, "spread": None}, "of those that did not diverge"
    lines = study_table(result).splitlines()
    assert len(set(map(len, lines))) == 1 and len(lines) == 4
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[2] == ["NeoInit", "2", "0", "75.00 ± 21.21", "0.5000 ± 0.1414", "935", "3.18", "-"]
    assert cells[3][3] == "40.00"
    assert sum("is done" in record.getMessage() for record in caplog.records) == 4
    assert ablate(config, seeds=1)["table"][1] == {
        "variant": "normal",
        "label": "random normal",
        "runs": 1,
        "diverged": 1,
        **dict.fromkeys(("accuracy", "loss")),
    }


def test_a_run_that_diverges_is_counted_and_one_that_was_interrupted_goes_on(tmp_path, caplog):
    caplog.set_level("INFO", "neonext_ms")
    config = TinyConfig(**{**SHORT, "lr": 1e30, "warmup_epochs": 0.0}, output_dir=str(tmp_path))
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    finished(tmp_path, "neo", 0, [0.5], [1.0])
    (tmp_path / "normal-0").mkdir()
    (tmp_path / "normal-0" / "config.yaml").write_text(config.to_yaml())  # killed before its first checkpoint
    (tmp_path / "normal-0" / "metrics.jsonl").write_text('{"event": "compile", "time": 1.0, "seconds": 1.0}\n')
    result = ablate(config, seeds=1)
    run = json.loads((tmp_path / "normal-0.json").read_text())
    assert run == result["runs"][1] and (run["variant"], run["seed"], run["run"]) == ("normal", 0, "normal-0")
    assert "loss is" in run["diverged"] and run["curve"] == [] and run["seconds"] > 0
    assert run["cpu_seconds"] is None, "nobody knows what it took before"
    assert [row["diverged"] for row in result["table"]] == [0, 1]
    written = TinyConfig.from_yaml(tmp_path / "normal-0" / "config.yaml")
    assert written == replace(config, neocell_init="normal", output_dir=None), "the same folder"
    assert any("run 2 of 2: diverged (the" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("lr, epochs, guesses", [(1e-12, 2, True), (0.01, 8, False)])
def test_a_run_that_ends(tmp_path, lr, epochs, guesses):
    """One that has learned nothing is counted as diverged: guessing among ten classes costs 2.3026."""
    config = TinyConfig(
        **{**SHORT, "seed": 3, "lr": lr, "epochs": epochs, "warmup_epochs": 1.0}, output_dir=str(tmp_path / "new")
    )
    folder = tmp_path / "new"
    folder.mkdir()
    finished(folder, "normal", 3, [0.5], [1.0])
    (run, _) = ablate(config, seeds=1)["runs"]
    events = [json.loads(line) for line in (folder / "neo-3" / "metrics.jsonl").read_text().splitlines()]
    evaluations = [event for event in events if event["event"] == "eval"]
    assert [event["epoch"] for event in evaluations] == list(range(1, epochs + 1))
    for point, event in zip(run["curve"], evaluations, strict=True):
        assert point == {"epoch": event["epoch"], "loss": event["loss"], "accuracy": event["accuracy"]}
    loss = evaluations[-1]["loss"]
    if guesses:
        assert loss > 2.3026
        assert run["diverged"] == f"its last validation loss, {loss:.2f}, is not below that of guessing"
    else:
        assert loss < 2.2 and run["diverged"] is None
    assert TinyConfig.from_yaml(folder / "neo-3" / "config.yaml") == replace(config, output_dir=None)


def test_other_settings_are_refused(begun):
    config, folder = begun
    with pytest.raises(UserError, match=r"holds an ablation with epochs=1, and now epochs is 7: use its own settings"):
        ablate(replace(config, epochs=7), seeds=2)
    with pytest.raises(UserError, match="leave out resume=auto"):
        ablate(replace(config, resume="auto"), seeds=2)
    with pytest.raises(UserError, match="seeds must be at least 1, got 0"):
        ablate(config, seeds=0)


@pytest.mark.parametrize(
    "text", ["", '{"init": "neo"}', "[]", '{"init": "neo", "diverged": null, "seconds": 1, "curve": []}', "[" * 100_000]
)
def test_a_damaged_file_of_a_run_is_named(begun, text):
    config, folder = begun
    (folder / "neo-1.json").write_text(text)
    with pytest.raises(UserError, match="neo-1.json is damaged .*: remove it, and its run is made again"):
        ablate(config, seeds=2)


def test_the_picture_of_curves_shows_mean_spread_and_diverged_runs(begun, monkeypatch):
    config, folder = begun
    drawn = {}

    def spy(figure, *args, **kwargs):
        drawn.update({axes.get_title(): (axes.lines, axes.collections) for axes in figure.axes})
        return savefig(figure, *args, **kwargs)

    savefig = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", spy)
    plot_study(ablate(config, seeds=2), folder / "ablation.png")
    assert list(drawn) == ["Validation accuracy (%)", "Validation loss"]
    lines, bands = drawn["Validation accuracy (%)"]
    means = {line.get_label(): line.get_data() for line in lines if not line.get_label().startswith("_")}
    assert means.keys() == {"NeoInit, 2 runs", "random normal, 2 runs, 1 diverged"}
    np.testing.assert_allclose(means["NeoInit, 2 runs"], [[1, 2], [60, 75]])
    np.testing.assert_allclose(means["random normal, 2 runs, 1 diverged"], [[1, 2], [20, 40]])
    ticks = lines[0].axes.get_xticks()
    assert (ticks == ticks.round()).all(), "there is no epoch 1.25"
    assert sum(line.get_linestyle() == ":" for line in lines) == 1 and len(lines) == 6
    band = bands[0].get_paths()[0].vertices
    assert np.abs(band - [2, 75 + 15 * math.sqrt(2)]).sum(1).min() < 1e-6
    with Image.open(folder / "ablation.png") as image:
        assert image.width > 700


def test_mean_and_spread():
    assert mean_and_spread([]) is None
    assert mean_and_spread([1.0, 2.0, 6.0]) == {"mean": 3.0, "spread": pytest.approx(np.std([1, 2, 6], ddof=1))}
