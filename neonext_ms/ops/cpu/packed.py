"""Weights as the compiled products read them: made once for a network that is not trained, not in every call."""

import ctypes

import mindspore as ms
from mindspore import Tensor, ops

from neonext_ms.ops.cpu.library import cpu_function


def pack_weights(weight: Tensor) -> Tensor:
    """What `forward` of a compiled layer takes in the place of a weight, and multiplies by in the same way.

    Args:
        weight: (rows, depth), float32 or float16.

    Returns:
        (words,) int32, for this machine alone and for layers that are made in the same precision
        (`set_matmul_precision`).
    """
    library, size_of = cpu_function("neonext_packed_size").rsplit(":", 1)
    function = getattr(ctypes.CDLL(library), size_of)
    function.restype = ctypes.c_int64
    words = function(*weight.shape)
    return ops.Custom(cpu_function("neonext_pack"), lambda _: [words], lambda _: ms.int32, "aot")(weight)
