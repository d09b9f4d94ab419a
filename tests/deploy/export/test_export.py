"""Export: what is written, that it is compared, and that nothing is left when it fails."""

import hashlib
import os
import re
import stat
from collections import Counter
from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest
from mindspore.train.mind_ir_pb2 import ModelProto
from PIL import Image

from neonext_ms import create_model
from neonext_ms.checkpoint.card import DatasetName, Model, ModelCard
from neonext_ms.checkpoint.network import load_network
from neonext_ms.deploy import export_model
from neonext_ms.deploy.export import limits
from neonext_ms.deploy.export.export import _real_images
from neonext_ms.deploy.export.verify import verify
from neonext_ms.deploy.fold.graph import fold
from neonext_ms.deploy.key import read_key
from neonext_ms.errors import UserError
from neonext_ms.evaluation.exported import open_mindir
from tests.support.tiny import TINY


@pytest.mark.parametrize("batch_size", [2, None])
def test_the_card_describes_the_file(exported, checkpoint, preprocess, batch_size):
    path, card = exported[batch_size]
    data = path.read_bytes()
    assert card["file"] == {"name": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert card["input"] == {"shape": [batch_size, 3, 32, 32], "dtype": "float32"}
    assert card["preprocess"] == preprocess.to_dict()
    assert card["class_names"][3] == "3"
    assert card["checkpoint"]["sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert card["verification"]["source"] == "digits/val"
    assert card["verification"]["images"] == (8 if batch_size else 12)
    assert card["graph"] == {"folded": batch_size is None, "gelu": "exact", "weights": "float32"}
    assert card["encryption"] is None
    assert card["verification"]["largest_difference"] <= 1e-5


def test_nothing_but_files_and_cards_is_written_and_they_follow_the_umask(exported):
    folder = exported[2][0].parent
    assert sorted(os.listdir(folder)) == ["any.mindir", "any.mindir.json", "two.mindir", "two.mindir.json"]
    umask = os.umask(0)
    os.umask(umask)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o666 & ~umask}


def test_the_file_gives_the_logits_of_the_checkpoint(exported, checkpoint):
    """Run by MindSpore alone, for the batch sizes that the file takes."""
    network, _ = load_network(checkpoint, backend="dense")
    x = np.random.default_rng(0).standard_normal((8, 3, 32, 32)).astype(np.float32)
    expected = network(ms.Tensor(x)).asnumpy()
    assert np.abs(expected).max() > 0.1
    for size, counts in ((2, [2]), (None, [1, 3, 8])):
        graph = ms.nn.GraphCell(ms.load(str(exported[size][0])))
        for n in counts:
            logits = graph(ms.Tensor(x[:n])).asnumpy()
            assert logits.shape == (n, 10)
            assert np.abs(logits - expected[:n]).max() <= 1e-5


def operators(path) -> Counter:
    """How often each operator occurs in a MindIR."""
    model = ModelProto()
    model.ParseFromString(path.read_bytes())
    nodes = [node for graph in (model.graph, *model.functions) for node in graph.node]
    return Counter(re.sub(r"REF::|:\d+$", "", node.op_type) for node in nodes)


def test_the_folded_graph_is_matmul_add_gelu_mean(exported):
    """Two blocks, stem, one down-sampling, head: 1 + 2 * 2 + 1 + 1 products of weights, 2 of every NeoCell."""
    found = operators(exported[None][0])
    assert found["MatMul"] == 7 and found["BatchMatMul"] == 6
    assert found["Erf"] == 2 and found["ReduceMean"] == 2 and found["SumExt"] == found["ReduceMax"] == 1  # the head's
    assert found["Transpose"] == 1  # the stem's
    plain = {
        "MatMul",
        "BatchMatMul",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Sqrt",
        "Erf",
        "Abs",
        "Maximum",
        "Reshape",
        "Transpose",
    }
    plain |= {"ReduceMean", "SumExt", "ReduceMax"}
    # Reading of weights and the graph's own bookkeeping.
    assert set(found) <= plain | {"Constant", "Load", "MakeTuple", "UpdateState", "Depend", "Return"}
    assert operators(exported[2][0])["BatchNorm"]  # what is counted is there where nothing is folded


@pytest.fixture(scope="module")
def secret(checkpoint, tmp_path_factory):
    """(path, card, key): encrypted, half precision, one image at a time."""
    path, key = tmp_path_factory.mktemp("secret") / "half.mindir", bytes(range(16))
    return path, export_model(checkpoint, path, weights="float16", key=key), key


def test_half_precision_halves_the_file(checkpoint, secret, exported, tmp_path):
    """Of the folded network's weights; the graph's own description is most of a file as small as these."""
    path, card, _ = secret
    assert card["graph"]["weights"] == "float16"
    network, _ = load_network(checkpoint, backend="dense")
    weights = sum(p.nbytes for p in fold(network, 32, backend="dense").get_parameters())
    assert exported[None][0].stat().st_size - path.stat().st_size == pytest.approx(weights / 2, rel=0.1)
    assert 0 < card["verification"]["largest_difference"] <= 0.01


def test_an_encrypted_file_opens_with_its_key_alone(secret, exported):
    path, card, key = secret
    assert card["encryption"] == "AES-GCM"
    x = np.zeros((1, 3, 32, 32), np.float32)
    assert open_mindir(path, key)(x).shape == (1, 10)
    for wrong in (None, bytes(range(1, 17))):
        with pytest.raises(RuntimeError):
            open_mindir(path, wrong)
    for name in (b"neocell", b"MatMul"):
        assert name in exported[None][0].read_bytes() and name not in path.read_bytes()


def test_keys_come_from_the_environment_or_a_file(tmp_path, monkeypatch):
    monkeypatch.delenv("NEONEXT_KEY", raising=False)
    with pytest.raises(UserError, match="environment variable NEONEXT_KEY is empty"):
        read_key()
    monkeypatch.setenv("NEONEXT_KEY", "ab" * 32)
    assert read_key() == b"\xab" * 32
    (tmp_path / "key").write_text("01" * 16 + "\n")
    assert read_key(tmp_path / "key") == b"\x01" * 16
    for text in ("secret!", "ab" * 15):
        (tmp_path / "key").write_text(text)
        with pytest.raises(UserError, match="does not hold a key: it takes 32, 48 or 64") as error:
            read_key(tmp_path / "key")
        assert text not in str(error.value)
    with pytest.raises(UserError, match="cannot read the key file .*gone"):
        read_key(tmp_path / "gone")


@pytest.mark.parametrize("name", ["x.mindir", "x.onnx"])
def test_a_file_that_does_not_agree_is_not_kept(save_checkpoint, tmp_path, name):
    """Weights whose logits overflow: no comparison with them can succeed."""

    def spoil(network):
        weight = network.head.fc.weight
        weight.set_data(ms.Tensor(np.full(weight.shape, 2e38, np.float32)))

    checkpoint = save_checkpoint(tmp_path / "x.ckpt", spoil)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="logits differ from the checkpoint's by nan"):
        export_model(checkpoint, tmp_path / "out" / name)
    assert os.listdir(tmp_path / "out") == []


def test_a_difference_is_noticed(exported, tmp_path):
    mindir = tmp_path / "x.mindir"
    mindir.write_bytes(exported[None][0].read_bytes())
    x = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
    logits = ms.nn.GraphCell(ms.load(str(mindir)))(ms.Tensor(x)).asnumpy()
    result = verify(mindir, x, logits, [1, 2], "CPU")
    assert result["limit"] == pytest.approx(1e-5 * np.abs(logits).max())
    changed = logits.copy()
    changed[2, 1] += 3 * result["limit"]
    with pytest.raises(UserError, match="logits differ"):
        verify(mindir, x, changed, [1, 2], "CPU")


def test_a_file_that_does_not_load_is_noticed(tmp_path):
    (tmp_path / "x.mindir").write_bytes(b"not a graph")
    x = np.zeros((1, 3, 32, 32), np.float32)
    with pytest.raises(UserError, match="does not load and run in a new process") as error:
        verify(tmp_path / "x.mindir", x, np.zeros((1, 10), np.float32), [1], "CPU")
    assert "\n" not in str(error.value)


def test_images_come_from_the_data_set_of_the_run_while_it_can_be_reached(preprocess, tmp_path):
    for split in ("train", "val"):
        for label, value in (("a", 40), ("b", 200)):
            (tmp_path / split / label).mkdir(parents=True)
            Image.new("RGB", (50, 40), (value, value, value)).save(tmp_path / split / label / "0.png")
    data = DatasetName("folder", str(tmp_path))
    card = ModelCard(Model("neonext_pico", 2, {}), preprocess, ("a", "b"), data)
    source, images = _real_images(card, 4)
    assert source == "folder/val"
    expected = [(value / 255 - 0.3) / 0.35 for value in (40, 200, 40, 200)]
    np.testing.assert_allclose(images, np.broadcast_to(np.reshape(expected, (4, 1, 1, 1)), (4, 3, 32, 32)), rtol=1e-5)
    (tmp_path / "val" / "a" / "1.png").write_text("no picture")
    source, images = _real_images(card, 3)
    assert source == "folder/val", "one that cannot be read gives way to the next"
    np.testing.assert_allclose(images[:, 0, 0, 0], [expected[0], expected[1], expected[1]], rtol=1e-5)
    gone = replace(card, dataset=DatasetName("folder", str(tmp_path / "gone")))
    source, images = _real_images(gone, 4)
    assert source == "digits/val"
    assert images.shape == (4, 3, 32, 32)
    assert images.std(axis=(1, 2, 3)).min() > 0.1
    assert len(np.unique(images, axis=0)) == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.pb", "must end in .mindir or .onnx, got .*x.pb"),
        ("gone/x.mindir", "no folder .*gone"),
        ("old.mindir", "old.mindir exists already"),
        ("card.mindir", "card.mindir.json exists already"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_first(checkpoint, tmp_path, name, message):
    (tmp_path / "old.mindir").write_text("mine")
    (tmp_path / "card.mindir.json").write_text("mine")
    with pytest.raises(UserError, match=message):
        export_model(checkpoint, tmp_path / name)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "old.mindir": "mine",
        "card.mindir.json": "mine",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        ({"image_size": 30}, "30 x 30"),
        ({"image_size": 4}, "cannot halve"),
        ({"weights": "int8"}, "unknown weights 'int8'"),
        ({"gelu": "erf"}, "unknown GELU 'erf'"),
        ({"folded": False, "gelu": "tanh"}, "need the folded graph"),
        ({"opset": 11}, "opset=11 is of ONNX"),
    ],
)
def test_options_that_do_not_work_are_refused(checkpoint, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        export_model(checkpoint, tmp_path / "x.mindir", **options)
    assert os.listdir(tmp_path) == []


def test_weights_that_mindspore_would_split_over_several_files_are_refused(checkpoint, tmp_path, monkeypatch):
    """At limits that the small model exceeds; the real one takes neonext_xl."""
    parameters = checkpoint.stat().st_size
    for limit, options in (
        (1000, {"folded": False}),
        (1000, {"weights": "float16"}),
        (parameters, {}),  # exceeded with the matrices A and B, which are laid out
    ):
        monkeypatch.setitem(limits.LARGEST, ".mindir", limit)
        with pytest.raises(UserError, match="GiB of float.. weights, but one .mindir file holds less"):
            export_model(checkpoint, tmp_path / "x.mindir", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("gate", [False, True])
def test_the_matrices_are_counted_as_they_are_laid_out(gate):
    network = create_model("neonext_pico", 10, seed=0, gate=gate, **TINY)
    folded = fold(network, 32, backend="dense")
    matrices = [p.size for p in folded.get_parameters() if re.fullmatch(r"layers\.[02]\.neocell.(left|right)", p.name)]
    assert len(matrices) == 4 and limits._laid_out(network.spec, 32) == sum(matrices)


def test_what_is_not_a_checkpoint_is_refused(tmp_path):
    (tmp_path / "x.ckpt").write_bytes(b"?")
    for name, message in (("x.ckpt", "no manifest"), ("gone.ckpt", "there is no checkpoint")):
        with pytest.raises(UserError, match=message):
            export_model(tmp_path / name, tmp_path / "x.mindir")
    assert os.listdir(tmp_path) == ["x.ckpt"]
