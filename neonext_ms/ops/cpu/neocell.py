"""The compiled NeoCell as part of a graph, forward and its fused backward."""

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from neonext_ms.errors import UserError
from neonext_ms.ops.ascend.neocell import ascend_package
from neonext_ms.ops.backend import Unavailable, warn_fallback
from neonext_ms.ops.cpu.library import cpu_library, cpu_vector_width
from neonext_ms.ops.groups import Group, cell_output_size


def fused_or_reason(backend: str) -> tuple[str, str]:
    """The device whose compiled operators a layer of this backend takes, "CPU", "Ascend" or "" for none, and why.

    "auto" falls back where there are none, with one warning; "fused" insists. The MLP is compiled for CPUs only.

    Raises:
        UserError: backend is "fused" and there are no compiled operators here.
    """
    if backend not in ("auto", "fused"):
        return "", f"the backend {backend} was asked for"
    try:
        device = ms.get_context("device_target")
        if device == "CPU":
            return device, f"compiled kernel, {cpu_vector_width()}: {cpu_library()}"
        if device == "Ascend":
            package = ascend_package(ms.hal.get_device_name(0, device))
            return device, f"AscendC operators for float16 and bfloat16: {package}"
        raise Unavailable(f"there is no compiled operator for {device}")
    except Unavailable as unavailable:
        reason = str(unavailable)
    if backend == "fused":
        raise UserError(f"the backend 'fused' is not available: {reason}; use 'auto' or 'dense'")
    warn_fallback(reason)
    return "", reason


class FusedNeoCell(nn.Cell):
    """NeoCell in one pass over X, its gradients in one pass over X and dY.

    Args:
        groups: channel groups.
        has_bias: a bias follows the blocks.

    Inputs:
        x: (N, C, H, W), float32 or float16; arithmetic is float32.
        blocks: (left.0, right.0, left.1, right.1, ...[, bias]), float32 or float16, whatever x is.

    Outputs:
        (N, C, H', W'), type of x.
    """

    def __init__(self, groups: Sequence[Group], has_bias: bool):
        super().__init__()
        fields = [int(has_bias)]
        for group in groups:
            fields += [group.channels, *group.left, *group.right, *group.shift]
        # Compiled operators read attributes wrongly (MindSpore 2.10), so what they need to know is a tensor.
        self.layout = Tensor(np.array(fields, np.int32))
        self.has_bias = has_bias

        channels = sum(group.channels for group in groups)
        sizes = (groups[0].left, groups[0].right)

        def output_shape(x, *_):
            return [x[0], channels, *cell_output_size(*x[1:], channels, sizes)]

        # With that of a bias even where there is none: eagerly, MindSpore takes the number of outputs from an earlier
        # call with inputs of the same shapes.
        def gradient_shapes(x, dy, layout, *blocks):
            return (x, *blocks[: 2 * len(groups)], [x[1]])

        def gradient_types(x, dy, layout, *blocks):
            return (x, *blocks[: 2 * len(groups)], blocks[0])

        library = cpu_library()
        self.forward = ops.Custom(f"{library}:neocell_forward", output_shape, lambda x, *_: x, "aot")
        self.backward = ops.Custom(f"{library}:neocell_backward", gradient_shapes, gradient_types, "aot")

    def serves(self, x) -> bool:
        """Whether the kernel takes x."""
        return x.dtype == ms.float32 or x.dtype == ms.float16

    def construct(self, x, blocks):
        return self.forward(x, self.layout, *blocks)

    def bprop(self, x, blocks, out, dout):
        gradients = self.backward(x, dout, self.layout, *(blocks[:-1] if self.has_bias else blocks))
        return gradients[0], gradients[1:] if self.has_bias else gradients[1:-1]
