"""Learning from a trained model: the forms that it may have, and going on."""

import shutil
from dataclasses import replace
from pathlib import Path

import mindspore as ms
import numpy as np
import onnx
import pytest

from neonext_ms import create_model
from neonext_ms.checkpoint.network import load_network
from neonext_ms.checkpoint.store import load_checkpoint, save_weights
from neonext_ms.data import Preprocess
from neonext_ms.deploy import export_model
from neonext_ms.errors import UserError
from neonext_ms.evaluation.step import EvalStep
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.assemble import make_steps
from neonext_ms.training.criterion import CrossEntropy, Distillation
from neonext_ms.training.inputs import open_sources, preprocess
from neonext_ms.training.run.saver import copy_of
from neonext_ms.training.teacher import open_teacher
from neonext_ms.training.trainer import train
from tests.support.tiny import SHORT, TINY, TinyConfig, assembled

MEAN, STD = (0.2, 0.3, 0.4), (0.25, 0.5, 0.125)  # of the teacher
DIGITS = [str(digit) for digit in range(10)]
CONFIG = TinyConfig(**SHORT)
RNG = np.random.default_rng(0)


def save_teacher(path: Path, seed: int = 7, names=DIGITS) -> Path:
    model = {"name": "neonext_pico", "num_classes": len(names), "overrides": {**TINY, "dims": [16, 16]}}
    card = {"model": model, "class_names": names, "preprocess": Preprocess(32, MEAN, STD).to_dict(), "dataset": None}
    network = create_model("neonext_pico", len(names), seed=seed, **model["overrides"])
    for parameter in network.get_parameters():  # statistics as of a trained one
        if "moving" in parameter.name:
            parameter.set_data(parameter + 0.5)
    save_weights(path, network, {**card, "epoch": 1, "step": 1, "metrics": {}})
    return path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return save_teacher(tmp_path_factory.mktemp("teacher") / "t.ckpt")


def save_linear(path: Path, batch: int | str = "n", classes: int = 10, side: int = 32) -> np.ndarray:
    """An ONNX file of another's network: the first pixels of an image times a matrix, which is returned."""
    from onnx import TensorProto, helper, numpy_helper

    weights = RNG.standard_normal((3 * side * side, classes)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
    ]
    shapes = [("images", [batch, 3, side, side]), ("logits", [batch, classes])]
    images, logits = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes)
    graph = helper.make_graph(nodes, "linear", [images], [logits], [numpy_helper.from_array(weights, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return weights


def opened(path: Path, config=CONFIG):
    source = open_sources(config)[0]
    return open_teacher(path, preprocess(config, source), source)


def test_a_checkpoint_in_the_graph_says_what_it_says_before_it(teacher):
    """Three updates: with its logits made in the graph, and with those that its evaluation gives."""
    found, images = opened(teacher), RNG.standard_normal((8, 3, 32, 32)).astype(np.float32)
    assert "t.ckpt (neonext_pico)" in found.said and found.predict is None
    own = preprocess(CONFIG, open_sources(CONFIG)[0])
    pixels = images * np.reshape(own.std, (3, 1, 1)) + np.reshape(own.mean, (3, 1, 1))
    theirs = ((pixels - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))).astype(np.float32)
    logits = EvalStep(load_network(teacher)[0])(theirs)
    targets = RNG.dirichlet(np.ones(10), 8).astype(np.float32)
    ms.set_context(mode=ms.GRAPH_MODE)
    weights = []
    for cell, given in ((found.cell, targets), (None, np.concatenate([targets, logits], 1))):
        network = create_model("neonext_pico", 10, seed=0, **TINY)
        criterion = Distillation(CrossEntropy(), 0.7, 3.0)
        step, _ = make_steps(TinyConfig(optimizer="sgd"), network, Ranks(0, 1, "CPU"), criterion, cell)
        for _ in range(3):
            step(images, given, None, 0.1)
        weights.append(copy_of({p.name: p.asnumpy() for p in network.get_parameters()}))
    for name, value in weights[0].items():
        np.testing.assert_allclose(value, weights[1][name], rtol=1e-4, atol=1e-5, err_msg=name)
    before = {p.name: p.asnumpy() for p in load_network(teacher)[0].get_parameters()}
    after = {p.name.removeprefix("teacher."): p.asnumpy() for p in found.cell.get_parameters()}
    assert all(np.array_equal(before[name], after[name]) for name in before), "it learns nothing itself"


@pytest.mark.parametrize("batch", ["n", 3])
def test_an_onnx_file_of_another_network(tmp_path, batch):
    weights = save_linear(tmp_path / "other.onnx", batch)
    config = replace(CONFIG, teacher=str(tmp_path / "other.onnx"), distill="hard", distill_alpha=0.3)
    job = assembled(replace(config, distill_temperature=2.5))
    criterion = job.train_step._cells[0].gradient.criterion
    assert (criterion.alpha, criterion.hard, criterion.temperature) == (0.3, True, 1.0)
    images, targets = RNG.standard_normal((8, 3, 32, 32)).astype(np.float32), np.zeros((8, 10), np.float32)
    _, given, *_ = job.inputs(images, targets, np.arange(8), 0)
    np.testing.assert_array_equal(given[:, :10], targets)
    np.testing.assert_allclose(given[:, 10:], images.reshape(8, -1) @ weights, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_mindir_says_what_its_checkpoint_says(teacher, tmp_path):
    export_model(teacher, tmp_path / "t.mindir", batch_size=4)
    found, images = opened(tmp_path / "t.mindir"), RNG.standard_normal((6, 3, 32, 32)).astype(np.float32)
    expected = EvalStep(opened(teacher).cell)(images)
    np.testing.assert_allclose(found.predict(images), expected, atol=1e-4 * np.abs(expected).max())


def test_a_teacher_that_does_not_fit(teacher, tmp_path):
    save_linear(tmp_path / "few.onnx", classes=4)
    save_linear(tmp_path / "large.onnx", side=64)
    save_teacher(tmp_path / "others.ckpt", names=list("abcdefghij"))
    (tmp_path / "x.onnx").write_text("no ONNX")
    for name, message in (
        ("few.onnx", "gives (4,) values an image, but digits/train has 10 classes"),
        ("large.onnx", "does not take images of 3 x 32 x 32, which the student sees"),
        ("others.ckpt", "knows the 10 classes a, b, c, ..., but digits/train has 10"),
        ("x.onnx", "onnxruntime does not read it"),
        ("x.pt", "expected a checkpoint, a model folder, or a .mindir or .onnx file"),
        ("x.mindir", "there is no exported model"),
    ):
        with pytest.raises(UserError) as error:
            opened(tmp_path / name)
        assert message in str(error.value) and "\n" not in str(error.value), error.value


def test_the_keys_reach_the_criterion(teacher):
    def criterion(form):
        keys = {"distill": form, "distill_alpha": 0.7, "distill_temperature": 3.0, "teacher": str(teacher)}
        return assembled(replace(CONFIG, **keys)).train_step._cells[0].gradient.criterion

    soft, hard = criterion("soft"), criterion("hard")
    assert (soft.alpha, soft.temperature, soft.hard) == (0.7, 3.0, False)
    assert (hard.alpha, hard.hard) == (0.7, True)


@pytest.mark.slow
def test_a_run_goes_on_with_the_same_teacher_wherever_it_lies(teacher, tmp_path):
    options = {**SHORT, "teacher": str(teacher), "distill_temperature": 2.0}
    train(TinyConfig(**options, output_dir=str(tmp_path / "whole")))
    whole = load_checkpoint(tmp_path / "whole/checkpoints/neonext_pico-2_22.ckpt")
    moved = tmp_path / "moved.ckpt"
    for ending in ("", ".json"):
        shutil.copy(f"{teacher}{ending}", f"{moved}{ending}")
    half = str(tmp_path / "whole/checkpoints/neonext_pico-1_11.ckpt")
    again = {**options, "resume": half, "output_dir": str(tmp_path / "rest")}
    with pytest.raises(UserError, match="is of a run with another teacher than .*other.ckpt: give that one"):
        train(TinyConfig(**{**again, "teacher": str(save_teacher(tmp_path / "other.ckpt", seed=8))}))
    with pytest.raises(UserError, match="another teacher than None"):
        train(TinyConfig(**{**again, "teacher": None}))
    train(TinyConfig(**{**again, "teacher": str(moved)}))
    rest = load_checkpoint(tmp_path / "rest/checkpoints/neonext_pico-2_22.ckpt")
    assert all(np.array_equal(value, rest.weights[name]) for name, value in whole.weights.items())
