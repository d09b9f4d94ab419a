"""NeoCell as two broadcasting matmuls with block-diagonal matrices (paper, section 3.4).

Portable and exportable: nothing but multiplications, reshapes, slices and matmuls. The matrix unit of an NPU does the
zeros of A and B for less than it would take to move the blocks about.
"""

from mindspore import ops

from neonext_ms.ops.assembly import assemble
from neonext_ms.ops.formulation import Formulation, add_bias, repeated
from neonext_ms.ops.matmul import matmul


class DenseNeoCell(Formulation):
    """A and B in the type of x, multiplied with every plane. A 1 x 1 block on the right is a scale, not a matrix."""

    def construct(self, x, left, right, bias):
        h, w = x.shape[2:]
        copies, h_out, w_out = self.output_size(x)
        left, right = [block.astype(x.dtype) for block in left], [block.astype(x.dtype) for block in right]
        a = repeated(assemble(left, self.left_runs, h_out, h), copies)
        if self.scales_right:
            b = right[0] if len(right) == 1 else ops.concat(right, 0)
        else:
            b = assemble(right, self.right_runs, w, w_out)
        b = ops.expand_dims(repeated(b, copies), 0)
        y = matmul(ops.expand_dims(a, 0), x)
        return add_bias(y * b if self.scales_right else matmul(y, b), bias)
