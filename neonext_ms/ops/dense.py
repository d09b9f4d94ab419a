"""NeoCell as two broadcasting matmuls with block-diagonal matrices (paper, section 3.4).

Portable and exportable: nothing but multiplications, reshapes, slices and matmuls. The matrix unit of an NPU does the
zeros of A and B for less than it would take to move the blocks about.
"""

from mindspore import ops

from neonext_ms.ops.assembly import assemble
from neonext_ms.ops.formulation import Formulation, add_bias
from neonext_ms.ops.matmul import matmul


class DenseNeoCell(Formulation):
    """A and B in the type of x, multiplied with every plane."""

    def construct(self, x, left, right, bias):
        h, w = x.shape[2:]
        h_out, w_out = self.output_size(x)
        a = assemble([block.astype(x.dtype) for block in left], self.left_runs, h_out, h)
        b = assemble([block.astype(x.dtype) for block in right], self.right_runs, w, w_out)
        return add_bias(matmul(matmul(ops.expand_dims(a, 0), x), ops.expand_dims(b, 0)), bias)
