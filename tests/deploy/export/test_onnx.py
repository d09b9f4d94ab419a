"""Exported ONNX files: the logits of the checkpoint, in every opset, and what ONNX does not have."""

import hashlib
import json
import os

import mindspore as ms
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from neonext_ms.checkpoint.network import load_network
from neonext_ms.deploy import export_model
from neonext_ms.deploy.export.limits import OPSETS
from neonext_ms.deploy.export.onnx_graph import at_opset
from neonext_ms.errors import UserError
from tests.support.cli import run


def test_onnx_gives_the_logits_of_the_checkpoint_in_onnxruntime(exported_onnx, checkpoint):
    path, card = exported_onnx
    assert card["input"]["shape"] == [None, 3, 32, 32]
    assert card["file"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert card["verification"]["images"] == 12
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [(x.name, x.shape) for x in session.get_inputs()] == [("images", ["batch", 3, 32, 32])]
    assert [(x.name, x.shape) for x in session.get_outputs()] == [("logits", ["batch", 10])]
    x = np.random.default_rng(0).standard_normal((8, 3, 32, 32)).astype(np.float32)
    network, _ = load_network(checkpoint)
    expected = network(ms.Tensor(x)).asnumpy()
    for n in (1, 3, 8):
        (logits,) = session.run(None, {"images": x[:n]})
        assert np.abs(logits - expected[:n]).max() <= 1e-5


@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset_gives_the_same_logits(exported_onnx, opset):
    path, card = exported_onnx
    assert card["graph"]["opset"] == 11
    model = at_opset(onnx.load(path), opset)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    images = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
    of_file, of_opset = (
        onnxruntime.InferenceSession(found).run(None, {"images": images})[0]
        for found in (path, model.SerializeToString())
    )
    assert np.abs(of_opset - of_file).max() <= 1e-5


@pytest.mark.parametrize("scale", [1, 1000])
def test_the_head_of_an_onnx_file_stands_float16_throughout(exported_onnx, checkpoint, scale):
    """As a converter makes it that takes float16 wherever it can; computed by onnx's own reference, which keeps it."""
    model = onnx.load(exported_onnx[0])
    begin = max(i for i, node in enumerate(model.graph.node) if node.op_type == "Reshape")
    network, _ = load_network(checkpoint)
    drawn = scale * np.random.default_rng(5).standard_normal((3, network.spec.dims[-1], 1, 1))
    features = drawn.astype(np.float16)
    head = onnx.helper.make_graph(
        model.graph.node[begin + 1 :],
        "head",
        [onnx.helper.make_tensor_value_info(model.graph.node[begin].output[0], onnx.TensorProto.FLOAT16, None)],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT16, None)],
        [
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(value).astype(np.float16), value.name)
            for value in model.graph.initializer
        ],
    )
    expected = network.forward_head(ms.Tensor(features.astype(np.float32))).asnumpy()
    session = ReferenceEvaluator(onnx.helper.make_model(head, opset_imports=model.opset_import))
    (logits,) = session.run(None, {head.input[0].name: features.transpose(1, 2, 0, 3)})
    assert logits.dtype == np.float16 and np.isfinite(logits).all()
    assert np.abs(logits - expected).max() <= 1e-2 * np.abs(expected).max()


def test_float16_of_another_opset_batch_and_image_size_in_the_tanh_form(capsys, checkpoint, preprocess, tmp_path):
    """By the command: every option of it reaches the file."""
    path = tmp_path / "large.onnx"
    options = {"gelu": "tanh", "weights": "float16", "opset": 17}
    given = [f"--{name}={value}" for name, value in (options | {"batch_size": 4, "image_size": 40}).items()]
    code, out, _ = run(capsys, "export", "--checkpoint", checkpoint, "--output", path, *given, "--json")
    card = json.loads(out)
    assert code == 0
    assert card["graph"] == {"folded": True, **options}
    (imported,) = onnx.load(path).opset_import
    assert imported.version == 17
    assert card["input"]["shape"] == [4, 3, 40, 40]
    assert card["preprocess"] == {**preprocess.to_dict(), "image_size": 40}
    assert onnxruntime.InferenceSession(path).get_inputs()[0].shape == [4, 3, 40, 40]
    assert "Erf" not in {node.op_type for node in onnx.load(path).graph.node}
    assert 0 < card["verification"]["largest_difference"]


def test_what_onnx_does_not_have_is_refused(checkpoint, tmp_path):
    refused = [({"folded": False}, "ONNX, .* need the folded"), ({"key": b"0" * 16}, "no encryption")]
    refused += [({"opset": opset}, f"opset must be one of 11 to 21, got {opset}") for opset in (10, 22)]
    for options, message in refused:
        with pytest.raises(UserError, match=message):
            export_model(checkpoint, tmp_path / "x.onnx", **options)
    assert os.listdir(tmp_path) == []
