"""The compiled NeoCell as part of a graph, forward and its fused backward."""

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from neonext_ms.ops.cpu.library import cpu_library
from neonext_ms.ops.formulation import Formulation
from neonext_ms.ops.groups import Group, plane_output_size


class FusedNeoCell(Formulation):
    """One pass over X, all gradients in one pass over X and dY; arithmetic is float32.

    x, blocks and bias may each be float32 or float16.
    """

    def __init__(self, groups: Sequence[Group], has_bias: bool):
        super().__init__(groups, has_bias)
        fields = [int(has_bias)]
        for group in groups:
            fields += [group.channels, *group.left, *group.right, *group.shift]
        # Compiled operators read attributes wrongly (MindSpore 2.10), so what they need to know is a tensor.
        self.layout = Tensor(np.array(fields, np.int32))
        channels, sizes = self.channels, self.sizes

        def output_shape(x, *_):
            return [*x[:2], *plane_output_size(x[2:], sizes)]

        # With that of a bias even where there is none: eagerly, MindSpore takes the number of outputs from an earlier
        # call with inputs of the same shapes.
        def gradient_shapes(x, dy, layout, *blocks):
            return (x, *blocks, [channels])

        def gradient_types(x, dy, layout, *blocks):
            return (x, *blocks, blocks[0])

        library = cpu_library()
        self.forward = ops.Custom(f"{library}:neocell_forward", output_shape, lambda x, *_: x, "aot")
        self.backward = ops.Custom(f"{library}:neocell_backward", gradient_shapes, gradient_types, "aot")

    def serves(self, x) -> bool:
        """Whether the kernel takes x."""
        return x.dtype == ms.float32 or x.dtype == ms.float16

    def construct(self, x, left, right, bias):
        blocks = _alternating(left, right)
        return self.forward(x, self.layout, *(blocks if bias is None else (*blocks, bias)))

    def bprop(self, x, left, right, bias, out, dout):
        gradients = self.backward(x, dout, self.layout, *_alternating(left, right))
        return gradients[0], gradients[1:-1:2], gradients[2:-1:2], None if bias is None else gradients[-1]


def _alternating(left, right):
    """The blocks as the kernel takes them: left and right of the first group, of the second, and so on."""
    blocks = ()
    for i in range(len(left)):
        blocks = (*blocks, left[i], right[i])
    return blocks
