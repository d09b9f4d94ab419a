"""Exported files as functions from images to logits."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from neonext_ms.checkpoint.description import ENCRYPTION
from neonext_ms.errors import NotInstalled, UserError

Network = Callable[[np.ndarray], np.ndarray]  # (n, c, S, S) float32 -> (n, K) float32 logits


def run_filled(network: Network, images: np.ndarray, size: int) -> np.ndarray:
    """At most `size` images through a network in a batch of that size, which zeros fill up."""
    filling = np.zeros((size - len(images), *images.shape[1:]), images.dtype)
    return network(np.concatenate([images, filling]))[: len(images)]


def run_in_batches(network: Network, images: np.ndarray, size: int | None) -> np.ndarray:
    """Any number of images through a network that takes `size` of them at once, or any number if None."""
    if size is None:
        return network(images)
    return np.concatenate([run_filled(network, images[i : i + size], size) for i in range(0, len(images), size)])


def open_mindir(path: str | Path, key: bytes | None = None) -> Network:
    """A MindIR without its card, with its key if it is encrypted."""
    import mindspore as ms

    options = {"dec_key": key, "dec_mode": ENCRYPTION} if key else {}
    graph = ms.nn.GraphCell(ms.load(str(path), **options))
    return lambda images: graph(ms.Tensor(images)).asnumpy()


def open_onnx(path: str | Path) -> "OnnxNetwork":
    """An ONNX file without its card, run by onnxruntime on the CPU.

    Raises:
        UserError: onnxruntime is not installed, or does not read the file.
    """
    try:
        import onnxruntime
    except ImportError:
        raise NotInstalled("running ONNX", "onnxruntime") from None
    try:
        return OnnxNetwork(onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]))
    except Exception as error:  # onnxruntime has a type for every kind of fault, below none that it exports
        raise UserError(f"cannot open {path}: onnxruntime does not read it ({str(error).splitlines()[0]})") from None


class OnnxNetwork:
    """A session of onnxruntime with one input and the logits as its first output.

    Attributes:
        batch_size: the only n that it takes; None for any.
    """

    def __init__(self, session):
        (tensor,) = session.get_inputs()
        self._session, self._name = session, tensor.name
        self.batch_size = tensor.shape[0] if tensor.shape and isinstance(tensor.shape[0], int) else None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(n, c, S, S) float32 -> (n, K) float32."""
        return self._session.run(None, {self._name: images})[0]
