"""NeoCell through the AscendC operators of `ascend_kernels/`, for Ascend 910B and 910_93.

On an NPU the operators come from the installed package (`aclnnNeoCell`, ...). A CPU runs the very same Cells on the
emulator's library, which exports functions of the same names: only the prefix of the names differs.
"""

from collections.abc import Sequence

import mindspore as ms
from mindspore import mint, nn, ops

from neonext_ms.ops.ascend.operator import FLOAT, HALF, INSTALLED, operator
from neonext_ms.ops.ascend.tiling import gradient_splits, prefers_kron, shape_refusal
from neonext_ms.ops.assembly import assemble, assemble_both
from neonext_ms.ops.fallback import warn_fallback
from neonext_ms.ops.formulation import Formulation, add_bias, repeated
from neonext_ms.ops.groups import Group, plane_output_size


class AscendNeoCell(Formulation):
    """One pass over X, its gradients in one pass over X and dY; x is float16 or bfloat16.

    A and B are assembled from the blocks by differentiable graph operators, in the blocks' own type, and rounded to
    the type of x once; dA and dB come back in float32 and flow to the blocks through the assembly.

    Args:
        groups, has_bias: as for every formulation.
        operators: what stands before an operator's name: "aclnn" for those installed on this machine, or
            "<library>:" for functions of a shared library.
    """

    def __init__(self, groups: Sequence[Group], has_bias: bool, operators: str = INSTALLED):
        super().__init__(groups, has_bias)
        self.product = PlaneProduct(operators)
        self.alike = AlikePlaneProduct(self.product)
        square = all(group.left == group.right and group.left[0] == group.left[1] for group in groups)
        self.sides_are_alike = square and self.left_runs == self.right_runs

    def serves(self, x) -> bool:
        """Whether the operators take x; where they do not, one warning says why. Decided when a graph is compiled."""
        return _serves(x.dtype, x.shape[2:], self.sizes)

    def construct(self, x, left, right, bias):
        h, w = x.shape[2:]
        copies, h_out, w_out = self.output_size(x)
        if self.sides_are_alike and h == w and copies == 1:
            return add_bias(self.alike(x, assemble_both(left, right, self.left_runs, h))[0], bias)
        a = repeated(assemble(left, self.left_runs, h_out, h), copies)
        b = repeated(assemble(right, self.right_runs, w, w_out), copies)
        return add_bias(self.product(x, a, b), bias)


class PlaneProduct(nn.Cell):
    """Y[n, c] = A[c] X[n, c] B[c] and its gradients, by the three operators.

    Args:
        operators: as in `AscendNeoCell`.

    Inputs:
        x: (N, C, H, W), float16 or bfloat16.
        a: (C, H', H), b: (C, W, W'): any float type, rounded to that of x.

    Outputs:
        (N, C, H', W'), type of x. The gradients have the types of x, a and b.
    """

    def __init__(self, operators: str):
        super().__init__()
        self.two_stage = operator(
            f"{operators}NeoCell",
            {"x": HALF, "a": HALF, "b": HALF},
            {"y": HALF},
            lambda x, a, b: [x[0], x[1], a[1], b[2]],
            lambda x, a, b: x,
        )
        self.kron = operator(
            f"{operators}NeoCellKron",
            {"x": HALF, "k": HALF},
            {"y": HALF},
            lambda x, k: [x[0], x[1], k[1]],
            lambda x, k: x,
        )
        self.gradient = operator(
            f"{operators}NeoCellGrad",
            {"x": HALF, "a": HALF, "b": HALF, "dy": HALF},
            {"dx": HALF, "da": FLOAT, "db": FLOAT},
            lambda x, a, b, dy: (x, [gradient_splits(x[0], x[1]), *a], [gradient_splits(x[0], x[1]), *b]),
            lambda x, a, b, dy: (x, ms.float32, ms.float32),
        )

    def construct(self, x, a, b):
        n, c, h, w = x.shape
        h_out, w_out = a.shape[1], b.shape[2]
        if _prefers_kron(x.shape, (h_out, w_out)):
            # K = kron(A, B^T), multiplied in the type of a and b and rounded once
            k = ops.reshape(a, (c, h_out, 1, h, 1)) * ops.reshape(mint.transpose(b, 1, 2), (c, 1, w_out, 1, w))
            k = ops.reshape(k, (c, h_out * w_out, h * w)).astype(x.dtype)
            return ops.reshape(self.kron(ops.reshape(x, (n, c, h * w)), k), (n, c, h_out, w_out))
        return self.two_stage(x, a.astype(x.dtype), b.astype(x.dtype))

    def bprop(self, x, a, b, out, dout):
        dx, da, db = self.gradients(x, a.astype(x.dtype), b.astype(x.dtype), dout)
        return dx, da.astype(a.dtype), db.astype(b.dtype)

    def gradients(self, x, a, b, dout):
        """dX, and in float32 dA and dB."""
        dx, da, db = self.gradient(x, a, b, dout)
        if da.shape[0] == 1:
            return dx, ops.reshape(da, a.shape), ops.reshape(db, b.shape)
        return dx, ops.sum(da, 0), ops.sum(db, 0)


class AlikePlaneProduct(nn.Cell):
    """The same for A and B in one tensor, which is rounded in one kernel.

    Args:
        product: a PlaneProduct.

    Inputs:
        x: (N, C, S, S), float16 or bfloat16.
        sides: (2, C, S, S), A and B, any float type, rounded to that of x.

    Outputs:
        (N, C, S, S), type of x; and the rounded sides, which the gradients take again. Only the first has gradients,
        of the types of x and sides.
    """

    def __init__(self, product: PlaneProduct):
        super().__init__()
        self.product = product

    def construct(self, x, sides):
        rounded = sides.astype(x.dtype)
        taken = sides if _prefers_kron(x.shape, x.shape[2:]) else rounded
        return self.product(x, mint.select(taken, 0, 0), mint.select(taken, 0, 1)), rounded

    def bprop(self, x, sides, out, dout):
        rounded = out[1]
        dx, da, db = self.product.gradients(x, mint.select(rounded, 0, 0), mint.select(rounded, 0, 1), dout[0])
        return dx, ops.reshape(ops.concat([da, db]), sides.shape).astype(sides.dtype)


@ops.constexpr
def _serves(dtype, plane, sizes) -> bool:
    if dtype not in (ms.float16, ms.bfloat16):
        reason = f"the AscendC operators take float16 and bfloat16, not {str(dtype).lower()}"
    else:
        reason = shape_refusal(*plane, *plane_output_size(plane, sizes))
    if reason:
        warn_fallback(reason)
    return not reason


# A constant of the graph: which operator a shape takes is decided when the graph is compiled.
_prefers_kron = ops.constexpr(prefers_kron)
