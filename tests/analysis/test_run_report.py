"""The HTML report: complete in one file, with the right mistakes, and without them where the data is missing."""

import base64
import io
import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from neonext_ms.analysis.run_report import (
    MISTAKES,
    Tried,
    _classes,
    _confusion,
    _headline,
    _mistakes,
    _predictions,
    _summary,
    write_report,
)
from neonext_ms.data.sources import ArraySource
from neonext_ms.deploy import Classifier
from neonext_ms.errors import UserError
from neonext_ms.evaluation.predictions import Predictions
from neonext_ms.training.run.summary import read_summary
from neonext_ms.training.trainer import train
from tests.support.cli import run as command
from tests.support.fuzz import read_or_refused, wrong_values
from tests.support.tiny import TinyConfig


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run, whose network is wrong now and then."""
    folder = tmp_path_factory.mktemp("runs") / "a <b> run"
    train(TinyConfig(epochs=1, batch_size=256, eval_batch_size=180, num_workers=0, output_dir=str(folder)))
    return folder


class Page(HTMLParser):
    """Pictures, addresses, headings and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.pictures, self.addresses, self.headings, self.text, self._open = [], [], [], "", []
        self.feed(text)
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.addresses += [
            attributes[name] for name in ("src", "href", "srcset", "data", "action") if name in attributes
        ]
        if tag == "img":
            kind, _, data = attributes["src"].partition(",")
            assert kind == "data:image/png;base64"
            self.pictures.append((attributes["alt"], Image.open(io.BytesIO(base64.b64decode(data)))))
        elif tag not in ("meta", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if {"h1", "h2"} & set(self._open):
            self.headings.append(data)
        self.text += data


def test_report_of_a_run(run, tmp_path):
    output = tmp_path / "report.html"
    result = write_report(run, output, None, 0, "CPU")
    text = output.read_text(encoding="utf-8")
    page = Page(text)
    assert page.headings == [
        "neonext_pico on digits: a <b> run",
        *("Curves", "Accuracy by class", "Confusion matrix", "Most confident mistakes", "Summary", "Configuration"),
    ]
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses), "nothing from elsewhere"
    assert "http" not in text and "<script" not in text and "url(" not in text and "@import" not in text
    summary = json.loads((run / "summary.json").read_text())
    assert result["accuracy"] == pytest.approx(summary["best"]["accuracy"])
    assert result["mistakes"] == round(360 * (1 - result["accuracy"])) > 0 and result["missing"] is None
    kinds = [kind for kind, _ in page.pictures]
    panels = ["Loss", "Accuracy (%)", "Learning rate", "Training speed (images/s)"]
    assert kinds == panels + ["mistake"] * min(MISTAKES, result["mistakes"])
    assert f"{100 * result['accuracy']:.2f} % of 360 validation images are right32 x 32 pixels, 1 epochs" in page.text
    assert '<meta name="viewport" content="width=device-width' in text
    for words in (
        "versions.mindspore",
        "images_per_second",
        "warmup_epochs",
        "label_smoothing",
        summary["versions"]["python"],
    ):
        assert words in page.text
    with pytest.raises(UserError, match="report.html exists: give another --output"):
        write_report(run, output, None, 0, "CPU")
    assert output.read_text(encoding="utf-8") == text


def test_predictions_are_those_of_inference(run):
    """The probabilities and classes that `infer` gives for the same images, in the order of the split."""
    predictions = _predictions(run / "checkpoints" / "neonext_pico_best.ckpt", None, 0, "CPU").predictions
    np.testing.assert_array_equal(predictions.indices, np.arange(360))
    np.testing.assert_array_equal(predictions.labels, predictions.source.labels)
    classifier = Classifier.open(run / "checkpoints" / "neonext_pico_best.ckpt")
    for at, result in zip(range(0, 360, 45), classifier.predict_validation(8)):
        best = result.classes[0]
        assert predictions.predicted[at] == best.index
        assert predictions.probability[at] == pytest.approx(best.probability, rel=1e-4)


def test_without_the_data_the_rest_is_there(run, tmp_path):
    """As after a run on another machine: the checkpoint's data set is not here."""
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("config.yaml", "metrics.jsonl"):
        (moved / name).write_bytes((run / name).read_bytes())
    result = write_report(moved, moved / "report.html", None, 0, "CPU")
    page = Page((moved / "report.html").read_text(encoding="utf-8"))
    assert result["mistakes"] is None and "there is no checkpoint" in result["missing"]
    assert result["missing"] in page.text and "The run has not ended" in page.text
    assert page.headings[1:] == ["Curves", "Mistakes", "Summary", "Configuration"]


def test_the_command_is_told_where_the_data_are(run, tmp_path, capsys):
    """Digits are nowhere: that is what the page says then."""
    options = ["--output", tmp_path / "x.html", "--data_dir", tmp_path, "--num_workers", 0]
    code, out, _ = command(capsys, "report", run, *options)
    assert code == 0 and out.endswith(f"takes no data_dir, but '{tmp_path}' was given\n")


def test_summaries_of_others_are_shown_or_refused(run, tmp_path):
    good = json.loads((run / "summary.json").read_text())
    path, read = tmp_path / "summary.json", 0
    config = {"image_size": 32, "epochs": 1}
    for values in wrong_values(good, seed=0, count=400):
        path.write_text(json.dumps(values))
        if read_or_refused(read_summary, path):
            _headline(config, read_summary(path), None), _summary(read_summary(path))
            read += 1
    assert 100 < read < 300, "of versions and the like nothing is asked"
    for data in (b"", b"[" * 100_000, b"\xff\xfe", b"null", (run / "summary.json").read_bytes()[:-9]):
        path.write_bytes(data)
        assert not read_or_refused(read_summary, path)


def test_other_folders_are_refused(run, tmp_path):
    with pytest.raises(UserError, match="is not the folder of a training run"):
        write_report(tmp_path, tmp_path / "report.html", None, 0, "CPU")
    with pytest.raises(UserError, match="the folder .*none does not exist"):
        write_report(run, tmp_path / "none" / "report.html", None, 0, "CPU")
    assert list(tmp_path.iterdir()) == []
    for name, text, message in (
        ("config.yaml", "epochs: 3", "config.yaml is not the configuration of a training run: it has no model"),
        ("config.yaml", "[1]", "config.yaml is not the configuration of a training run"),
        ("summary.json", "{}", "summary.json is damaged .parameters must be .*resuming the run writes it anew"),
    ):
        other = tmp_path / f"{len(text)}-{name}"
        shutil.copytree(run, other)
        (other / name).write_text(text)
        with pytest.raises(UserError, match=message):
            write_report(other, tmp_path / "report.html", None, 0, "CPU")


@pytest.fixture
def predictions():
    """Six images of three classes; the fourth to sixth are wrong."""
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.full((1, 8, 10, 3), 20, np.uint8)
    source = ArraySource("made/val", ["cat", "<dog>", "owl"], [0, 1, 2, 0, 0, 1], images, (0.5,) * 3, (0.25,) * 3)
    predicted = np.array([0, 1, 2, 1, 1, 2])
    probability = np.array([0.9, 0.9, 0.99, 0.6, 0.8, 0.7])
    return Predictions(source, np.arange(6), source.labels, predicted, probability)


def test_confusion_and_mistakes(predictions):
    assert predictions.accuracy == 0.5
    np.testing.assert_array_equal(predictions.confusion(), [[1, 2, 0], [0, 1, 1], [0, 0, 1]])
    assert predictions.mistakes(10).tolist() == [4, 5, 3] and predictions.mistakes(1).tolist() == [4]
    page = Page(f"<div>{_mistakes(Tried(predictions, None))}</div>")
    assert [np.asarray(picture)[0, 0, 0] for _, picture in page.pictures] == [80, 100, 60]
    assert "taken for <dog> (80.0 %), is catmade/val[4]" in page.text
    table = Page(f"<div>{_confusion(predictions)}</div>").text
    assert table.endswith("classtaken forimagescat<dog>2<dog>owl1")
    assert "cat<dog>owlcat12<dog>11owl1class" in table, "counts under their names, nothing where there is none"
    classes = Page(f"<div>{_classes(predictions)}</div>").text
    assert classes.endswith("classimagesrightcat333.3 %<dog>250.0 %owl1100.0 %"), "the worst first"


def test_names_are_shown_literally(predictions):
    """A dollar is no formula, a line's end is no line, a byte that is no text is shown as one."""
    names = ["US$ x_$", "two\nlines\x1b[2J", "caf\udce9"]
    predictions.source.class_names = names
    predictions.source.describe = lambda index: f"/data/val/two\nlines/{index}.png"
    text = _classes(predictions) + _confusion(predictions) + _mistakes(Tried(predictions, "/data"))
    text.encode("utf-8")
    shown = Page(f"<div>{text}</div>").text
    assert all(name in shown for name in ("US$ x_$", r"two\nlines\x1b[2J", r"caf\udce9"))
    assert r"val/two\nlines/4.png" in shown and "/data" not in shown, "paths are relative to the data"


def test_no_mistakes(predictions):
    right = replace(predictions, predicted=predictions.labels)
    assert "None." in _mistakes(Tried(right, None)) and "taken for</th>" not in _confusion(right)


def test_many_classes_are_drawn_without_numbers():
    classes = 300
    labels = np.arange(classes)
    source = SimpleNamespace(class_names=[f"class {i}" for i in labels], name="made/val")
    predictions = Predictions(source, labels, labels, labels, labels / classes)
    page = Page(f"<div>{_confusion(predictions)}{_classes(predictions)}</div>")
    assert [kind for kind, _ in page.pictures] == ["confusion matrix"]
    assert "The worst 20 of 300 classes." in page.text and page.text.count("100.0 %") == 20
