"""Exported files as functions of NumPy arrays."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from neonext_ms.errors import UserError

ENCRYPTION = "AES-GCM"


def open_mindir(path: str | Path, key: bytes | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """A MindIR, with its key if it is encrypted: (n, c, S, S) float32 -> (n, K) float32."""
    import mindspore as ms

    options = {"dec_key": key, "dec_mode": ENCRYPTION} if key else {}
    graph = ms.nn.GraphCell(ms.load(str(path), **options))
    return lambda images: graph(ms.Tensor(images)).asnumpy()


def open_onnx(path: str | Path) -> Callable[[np.ndarray], np.ndarray]:
    """An ONNX file, run by onnxruntime on the CPU: (n, c, S, S) float32 -> (n, K) float32.

    Raises:
        UserError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UserError("running ONNX needs onnxruntime: pip install 'neonext_ms[onnx]'") from None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (tensor,) = session.get_inputs()
    return lambda images: session.run(None, {tensor.name: images})[0]
