"""A run on images with several classes, from its folder to the answers of the trained model."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from neonext_ms.benchmark.resample import benchmark_resample
from neonext_ms.checkpoint.store import load_checkpoint, save_checkpoint
from neonext_ms.commands.deployment import infer_command
from neonext_ms.data import Preprocess
from neonext_ms.deploy import Classifier
from neonext_ms.deploy.results import formatted
from neonext_ms.deploy.validate import validate
from neonext_ms.errors import UserError
from neonext_ms.training.inputs import open_sources
from neonext_ms.training.trainer import train
from tests.support.mixtures import CLASSES, mixtures
from tests.support.tiny import TinyConfig, events


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return mixtures(tmp_path_factory.mktemp("colours"), train=128, val=16)


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "run"
    config = TinyConfig(
        dataset="multilabel",
        data_dir=str(root),
        loss="bce",
        threshold=0.6,
        label_smoothing=0.0,
        epochs=6,
        batch_size=16,
        num_workers=0,
        lr=0.01,
        class_weights="balanced",
        val_interval=3,
        ema_decay=0.5,
        output_dir=str(output),
    )
    return train(config), output


def test_it_learns_and_says_so(run):
    summary, output = run
    assert summary["best"]["mAP"] > 0.9 and summary["final"]["f1"] > 0.7, summary
    last = events(output, "eval")[-1]
    assert {"mAP", "f1", "accuracy", "loss", "ema_mAP"} <= set(last) and last["images"] == 16
    assert "top5_accuracy" not in last
    assert events(output, "train")[-1]["accuracy"] > 0.4


def test_the_model_answers_with_all_classes_above_its_threshold(run, root, tmp_path):
    _, output = run
    path = output / "checkpoints" / "neonext_pico_best.ckpt"
    card = load_checkpoint(path, with_state=False).card
    assert card.threshold == 0.6 and card.to_dict()["threshold"] == 0.6
    classifier = Classifier.open(path)
    assert classifier.threshold == 0.6
    images = [str(root / "val" / f"{i}.png") for i in range(16)]
    right = 0
    for i, answer in enumerate(classifier.predict(images, top_k=1)):
        assert all(p.probability > 0.6 for p in answer)
        assert [p.probability for p in answer] == sorted((p.probability for p in answer), reverse=True)
        right += {p.name for p in answer} == {CLASSES[k] for k in range(3) if i >> k & 1}
    metrics = validate(path, "CPU")
    assert metrics["accuracy"] == right / 16
    stored = json.loads(path.with_name(path.name + ".json").read_text())["metrics"]
    assert metrics["mAP"] == pytest.approx(stored["mAP"]) and metrics["loss"] == pytest.approx(stored["loss"], rel=1e-3)
    infer_command(str(path), images[:8], format="csv", output=str(tmp_path / "answers.csv"), top_k=1, device="CPU")
    header, *rows = csv.reader((tmp_path / "answers.csv").read_text().splitlines())
    assert header[4:] == [f"{what}_{rank}" for rank in (1, 2, 3) for what in ("name", "probability")]
    assert all(len(row) == len(header) for row in rows)


def test_validation_goes_by_the_threshold_of_the_card(run, tmp_path):
    trained = load_checkpoint(run[1] / "checkpoints" / "neonext_pico_best.ckpt", with_state=False)
    sure = tmp_path / "sure.ckpt"
    save_checkpoint(sure, trained.weights, {**trained.card.to_dict(), "threshold": 1 - 1e-12})
    with_it, without = validate(sure, "CPU"), validate(trained.path, "CPU")
    assert with_it["f1"] == 0 < without["f1"], "no class is said to be there"
    resampled = benchmark_resample(str(sure), ["7"], (), num_workers=0)
    assert [row["accuracy"] for row in resampled] == [with_it["accuracy"]] * 2 and with_it["accuracy"] != without[
        "accuracy"
    ]


def test_an_answer_may_be_none_of_the_classes(tmp_path):
    """Logits -1 and 2 at a threshold of 0.5; then of 0.9."""
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    for threshold, said in ((0.5, "b 88.1 %"), (0.9, "none of the classes")):
        network = lambda images: np.array([[-1.0, 2.0]] * len(images), np.float32)  # noqa: E731
        model = Classifier(network, Preprocess(4, (0.5,) * 3, (0.5,) * 3), ["a", "b"], threshold=threshold)
        (line,) = formatted(model.predict_files([tmp_path / "a.png"]), "text", model.most(3))
        assert line.startswith(f"{tmp_path / 'a.png'}: {said}  (")


def test_another_loss_is_refused_at_once(root):
    with pytest.raises(UserError, match="may have several classes: use loss=bce, got cross_entropy"):
        open_sources(TinyConfig(dataset="multilabel", data_dir=str(root)))
