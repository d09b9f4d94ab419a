"""A folded network as ONNX, through MindSpore's exporter."""

from pathlib import Path

from neonext_ms.deploy.export.limits import OPSETS, Form
from neonext_ms.errors import NotInstalled

INPUT, OUTPUT, BATCH = "images", "logits", "batch"

_STAND_IN = "Softsign"


def write_onnx(network, path: Path, shape: list[int | None], form: Form):
    """Write a folded network as ONNX and check the file with onnx's own checker.

    MindSpore's exporter does not know Erf. An operator that it knows and that occurs nowhere else stands in for it and
    is renamed in the file. It writes operator set 11; onnx's converter makes later ones of it.

    Args:
        network: NeoNeXt in evaluation, with a classifier.
        path: of the file.
        shape: of the input "images", (N, c, S, S) float32; N None makes it the dimension "batch".
        form: gelu, weights and opset.

    Raises:
        UserError: the onnx package is missing, or what `fold` refuses.
    """
    try:
        import onnx
    except ImportError:
        raise NotInstalled("ONNX", "onnx", "onnxruntime") from None
    import mindspore as ms
    from mindspore import ops
    from mindspore.onnx import export

    from neonext_ms.deploy.fold.graph import FoldedNeoNeXt, gelu_cell
    from neonext_ms.deploy.fold.weights import fold_weights

    dtype = getattr(ms, form.weights)
    act = gelu_cell(form.gelu, dtype, erf=getattr(ops, _STAND_IN)())
    cell = FoldedNeoNeXt(fold_weights(network), shape[-1], act, dtype).set_train(False)
    x = ms.Tensor(shape=shape, dtype=ms.float32)
    export(cell, x, file_name=str(path), input_names=[INPUT], output_names=[OUTPUT])
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == _STAND_IN:
            node.op_type = "Erf"
    model.graph.node[-1].output[0] = OUTPUT  # a cast has another name (MindSpore 2.10)
    for tensor in (*model.graph.input, *model.graph.output):
        if shape[0] is None:
            tensor.type.tensor_type.shape.dim[0].dim_param = BATCH
    model = at_opset(model, form.opset)
    path.unlink()  # which MindSpore has made read-only
    onnx.save(model, path)


def at_opset(model, opset: int):
    """A model of operator set 11 in another of OPSETS, checked."""
    import onnx

    if opset != OPSETS[0]:
        model = onnx.version_converter.convert_version(model, opset)
    onnx.checker.check_model(model, full_check=True)
    return model
