"""Curves of a run: which points are drawn, and what is refused."""

import json
import os

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from neonext_ms.analysis.plots import Curves, curves_of, draw_panels, plot_curves, read_series
from neonext_ms.errors import UserError

TRAIN = [
    {"event": "train", "epoch": 1, "step": s, "loss": 2.0 / s, "accuracy": 0.1 * s, "lr": 0.01, "images_per_second": 50}
    for s in (1, 2, 3, 4)
]
EVAL = [{"event": "eval", "epoch": s // 2, "step": s, "loss": 1.0 / s, "accuracy": 0.2, "images": 9} for s in (2, 4)]


def write(path, entries, end="\n"):
    path.write_text("\n".join(map(json.dumps, entries)) + end)
    return path


@pytest.fixture
def drawn(monkeypatch):
    """The panels of the last picture: {title: {label: (x, y)}}."""
    panels = {}
    savefig = Figure.savefig

    def spy(figure, *args, **kwargs):
        for axes in figure.axes:
            panels[axes.get_title()] = {line.get_label(): line.get_data() for line in axes.lines}
        return savefig(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", spy)
    return panels


def test_every_event_is_drawn_in_its_panel(tmp_path, drawn):
    metrics = write(tmp_path / "metrics.jsonl", [{"event": "compile", "seconds": 3}, *TRAIN, *EVAL])
    plot_curves(Curves(metrics, "training (mixed images)"), tmp_path / "curves.png")
    assert list(drawn) == ["Loss", "Accuracy (%)", "Learning rate", "Training speed (images/s)"]
    epochs = [0.5, 1, 1.5, 2]
    np.testing.assert_allclose(drawn["Loss"]["training (mixed images)"], [epochs, [2.0, 1.0, 2 / 3, 0.5]])
    np.testing.assert_allclose(drawn["Loss"]["validation"], [[1, 2], [0.5, 0.25]])
    np.testing.assert_allclose(drawn["Accuracy (%)"]["training (mixed images)"], [epochs, [10, 20, 30, 40]])
    np.testing.assert_allclose(drawn["Accuracy (%)"]["validation"], [[1, 2], [20, 20]])
    assert list(drawn["Learning rate"]) == list(drawn["Training speed (images/s)"]) == ["training"]


def test_before_the_first_evaluation_the_axis_has_steps(tmp_path):
    curves = Curves(write(tmp_path / "m.jsonl", TRAIN))
    assert curves.axis == "step" and curves.line("train", "loss", 1)[0] == [1, 2, 3, 4]


def test_a_report_over_few_steps_at_an_epochs_end_is_joined_with_the_one_before(tmp_path):
    """Reports after 10, 20 and 22 steps: two steps alone would be drawn as a spike."""
    spans = ((1, 10, 1.0, 100), (1, 20, 1.0, 100), (1, 22, 4.0, 25), (2, 32, 1.0, 100), (2, 42, 1.0, 100))
    entries = [
        {"event": "train", "epoch": epoch, "step": step, "loss": loss, "images_per_second": rate}
        for epoch, step, loss, rate in spans
    ]
    curves = Curves(write(tmp_path / "m.jsonl", [*entries, {"event": "eval", "epoch": 2, "step": 44, "loss": 1.0}]))
    epochs, losses = curves.line("train", "loss", 1)
    np.testing.assert_allclose(epochs, [10 / 22, 1, 32 / 22, 42 / 22])
    np.testing.assert_allclose(losses, [1, (10 * 1 + 2 * 4) / 12, 1, 1])
    _, rates = curves.line("train", "images_per_second", 1)
    np.testing.assert_allclose(rates, [100, 12 / (10 / 100 + 2 / 25), 100, 100])


def test_a_mark_stands_where_a_run_was_resumed(tmp_path, drawn):
    """Also at its beginning, and once however often that was tried."""
    resume = {"event": "resume", "checkpoint": "x.ckpt"}
    metrics = write(tmp_path / "m.jsonl", [resume, *TRAIN[:2], EVAL[0], TRAIN[2], resume, resume, TRAIN[3], EVAL[1]])
    curves = Curves(metrics)
    assert curves.resumed == [0, 1.5]
    assert [title for title, _ in draw_panels(curves)] == list(drawn)
    np.testing.assert_allclose(drawn["Loss"]["resumed"][0], [0, 0])


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({}, "training"),
        ({"label_smoothing": 0.1, "mixup": 0, "cutmix": 0.0}, "training (smoothed labels)"),
        ({"label_smoothing": 0.1, "mixup": 0.2}, "training (smoothed labels, mixed images)"),
        ({"cutmix": 1.0}, "training (mixed images)"),
    ],
)
def test_the_training_is_called_what_it_is(tmp_path, config, name):
    write(tmp_path / "metrics.jsonl", TRAIN)
    assert curves_of(tmp_path, config).labels == {"train": name, "eval": "validation"}


def test_the_picture_replaces_an_older_one_and_leaves_nothing_else(tmp_path):
    metrics = write(tmp_path / "metrics.jsonl", TRAIN)
    output = tmp_path / "curves.png"
    output.write_text("old")
    plot_curves(Curves(metrics), output)
    with Image.open(output) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert len(pixels) > 500_000
    assert (pixels == (0x00, 0x72, 0xB2)).all(1).sum() > 100  # the blue of the training curves
    assert sorted(os.listdir(tmp_path)) == ["curves.png", "metrics.jsonl"]


def test_steps_that_were_run_again_count_as_they_went_the_last_time(tmp_path):
    again = {**TRAIN[1], "loss": 7.0}
    series = read_series(write(tmp_path / "m.jsonl", [*TRAIN, again]))
    assert [series["train"][step]["loss"] for step in sorted(series["train"])] == [2.0, 7.0, 2 / 3, 0.5]


def test_a_last_line_that_was_cut_off_is_passed_over(tmp_path):
    metrics = write(tmp_path / "m.jsonl", TRAIN[:3], end='\n{"event": "train", "st')
    assert sorted(read_series(metrics)["train"]) == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no training or evaluation events"),
        ('{"event": "compile"}\n', "no training or evaluation events"),
        ('{"event": "train", "step": 1}\nnonsense\n', "line 2 of .*m.jsonl is not an event"),
        ('{"event": "train"}\n', "line 1 of .*m.jsonl is not an event"),
        ("[1]\n", "line 1 of .*m.jsonl is not an event"),
        *(
            (f'{{"event": "eval", "step": 4, "epoch": 1}}\n{line}\n', "line 2 of .*m.jsonl is not an event")
            for line in (
                '{"event": "train", "step": "4"}',
                '{"event": "train", "step": 1e400}',
                '{"event": "train", "step": 8, "loss": "low"}',
                '{"event": "train", "step": 8, "loss": NaN}',
                '{"event": "train", "step": 8, "lr": [1]}',
                '{"event": "eval", "step": 8, "epoch": null}',
                '{"event": {}, "step": 8}',
                "[" * 100_000,
            )
        ),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, text, message):
    (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        plot_curves(Curves(tmp_path / "m.jsonl"), tmp_path / "curves.png")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "curves.png").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot read .*m.jsonl .No such file"):
        plot_curves(Curves(tmp_path / "m.jsonl"), tmp_path / "curves.png")
