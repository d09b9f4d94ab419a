"""The command validate: the accuracy of the file itself, on the data set of its card; bad models are refused."""

import json
import os

import numpy as np
import pytest
from mindspore import Tensor
from PIL import Image

from neonext_ms.checkpoint.network import load_network
from neonext_ms.deploy.validate import validate
from neonext_ms.evaluation.evaluate import evaluate
from neonext_ms.evaluation.loader import validation_loader
from neonext_ms.evaluation.step import EvalStep
from neonext_ms.runtime.ranks import Ranks
from tests.support.cli import run


def test_weights_that_are_no_numbers_are_refused_wherever_they_are_opened(capsys, save_checkpoint, tmp_path):
    """By the name of the tensor: accuracy says nothing, as most comparisons with NaN are false."""

    def spoil(network):
        weight = network.stages[1][0].fc1.weight
        weight.set_data(
            Tensor(np.where(np.arange(weight.size).reshape(weight.shape) == 3, np.nan, 1).astype(np.float32))
        )

    path = save_checkpoint(tmp_path / "x.ckpt", spoil)
    for command in (
        ["validate", "--model", path],
        ["infer", "--model", path, "--count", 1],
        ["export", "--checkpoint", path, "--output", tmp_path / "x.mindir"],
        ["export", "--checkpoint", path, "--output", tmp_path / "x", "--format", "folder"],
        ["convert", "--input", path, "--output", tmp_path / "x.pt"],
        [
            "train",
            "--model",
            "neonext_pico",
            "--pretrained",
            path,
            "--output_dir",
            tmp_path / "run",
            "--num_workers",
            0,
        ],
    ):
        code, out, err = run(capsys, *command)
        assert code == 2 and not out, command
        assert "x.ckpt: stages.1.0.fc1.weight has 1 of 1024 values that are not finite numbers" in err, err
    assert sorted(os.listdir(tmp_path)) == ["x.ckpt", "x.ckpt.json"]


def test_outputs_that_are_no_numbers_are_no_accuracy(capsys, save_checkpoint, tmp_path):
    """Of finite weights that overflow."""

    def spoil(network):
        weight = network.head.fc.weight
        weight.set_data(Tensor(np.full(weight.shape, 2e38, np.float32)))

    path = save_checkpoint(tmp_path / "x.ckpt", spoil)
    code, out, err = run(capsys, "validate", "--model", path, "--num_workers", 0, "--json")
    assert code == 2 and not out and "the network's outputs are not finite numbers" in err


@pytest.fixture(scope="module")
def by_the_checkpoint(checkpoint):
    """Of the network as it was trained: nothing folded, nothing exported."""
    network, card = load_network(checkpoint)
    ranks = Ranks(0, 1, "CPU")
    return evaluate(EvalStep(network), validation_loader(card, ranks, batch_size=60), ranks)


@pytest.mark.parametrize("kind", ["checkpoint", 2, None, "onnx"])
def test_the_accuracy_of_the_file_itself(capsys, checkpoint, exported, exported_onnx, by_the_checkpoint, kind):
    """On all 360 digits of the validation split, whose last batch is not full."""
    path = {"checkpoint": checkpoint, "onnx": exported_onnx[0]}.get(kind) or exported[kind][0]
    code, out, _ = run(capsys, "validate", "--model", path, "--num_workers", 0, "--batch_size", 77, "--json")
    result = json.loads(out)
    assert code == 0 and result["model"] == str(path) and result["dataset"] == "digits/val"
    assert result["images"] == by_the_checkpoint["images"] == 360
    assert result["top5_accuracy"] == pytest.approx(by_the_checkpoint["top5_accuracy"], abs=1e-6)
    assert result["accuracy"] == pytest.approx(by_the_checkpoint["accuracy"], abs=1e-6)
    assert result["loss"] == pytest.approx(by_the_checkpoint["loss"], rel=1e-4)
    assert validate(path, "CPU", batch_size=77) == result, "nor do other defaults stand in the function"


def test_accuracy_and_answers_in_bfloat16(capsys, checkpoint, by_the_checkpoint):
    """The option reaches both commands: losses and probabilities differ, by a rounding."""
    brief = ("--model", checkpoint, "--matmul_precision", "bfloat16", "--json")
    code, out, _ = run(capsys, "validate", *brief, "--num_workers", 0)
    assert code == 0 and 0 < abs(json.loads(out)["loss"] / by_the_checkpoint["loss"] - 1) < 0.01
    answers = [
        [row["classes"][0]["probability"] for row in json.loads(run(capsys, "infer", *options, "--count", 2)[1])]
        for options in (brief, ("--model", checkpoint, "--json"))
    ]
    assert answers[0] != answers[1] and np.allclose(*answers, atol=0.02)


def test_the_preprocessing_is_that_of_the_card(capsys, checkpoint, exported, by_the_checkpoint, tmp_path):
    """With other means in it, the same file gives another loss."""
    path, card = exported[None]
    (tmp_path / path.name).write_bytes(path.read_bytes())
    card = {**card, "preprocess": {**card["preprocess"], "mean": [0.9, 0.9, 0.9]}}
    (tmp_path / f"{path.name}.json").write_text(json.dumps(card))
    _, out, _ = run(capsys, "validate", "--model", tmp_path / path.name, "--num_workers", 0, "--json")
    assert abs(json.loads(out)["loss"] - by_the_checkpoint["loss"]) > 0.01


def test_a_card_with_other_classes_than_its_file_is_noticed(capsys, exported, images, tmp_path):
    """An edited one, which fits itself."""
    path, card = exported[None]
    (tmp_path / path.name).write_bytes(path.read_bytes())
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    for count in (3, 12):
        names = [str(i) for i in range(count)]
        edited = {**card, "model": {**card["model"], "num_classes": count}, "class_names": names}
        (tmp_path / f"{path.name}.json").write_text(json.dumps(edited))
        code, _, err = run(capsys, "infer", "--model", tmp_path / path.name, tmp_path / "a.png")
        assert code == 2 and f"gives outputs of shape (1, 10) for 1 images, but its card has {count} class names" in err


def test_a_model_that_does_not_know_its_data_set_needs_one(capsys, exported, tmp_path):
    path, card = exported[None]
    (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / f"{path.name}.json").write_text(json.dumps({**card, "dataset": None}))
    for command in (["validate", "--num_workers", 0], ["infer", "--count", 3]):
        code, _, err = run(capsys, *command, "--model", tmp_path / path.name)
        assert code == 2 and "does not say which data set it was trained on" in err
