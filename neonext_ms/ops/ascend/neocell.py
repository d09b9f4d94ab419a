"""NeoCell through the AscendC operators of `ascend_kernels/`, for Ascend 910B and 910_93.

On an NPU the operators come from the installed package (`aclnnNeoCell`, ...). A CPU runs the very same Cells on the
emulator's library, which exports functions of the same names: only the prefix of the names differs.
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import mindspore as ms
from mindspore import nn, ops
from mindspore.ops import CustomRegOp, DataType

from neonext_ms.ops.ascend.tiling import gradient_splits, prefers_kron, shape_refusal
from neonext_ms.ops.assembly import assemble
from neonext_ms.ops.backend import Unavailable, warn_fallback
from neonext_ms.ops.groups import Group, cell_output_size

OPERATORS = ("NeoCell", "NeoCellKron", "NeoCellGrad")
INSTALLED = "aclnn"


class AscendNeoCell(nn.Cell):
    """NeoCell with one pass over X, its gradients in one pass over X and dY.

    A and B are assembled from the blocks by differentiable graph operators, in the blocks' own type, and rounded to
    the type of x once; dA and dB come back in float32 and flow to the blocks through the assembly.

    Args:
        groups: channel groups.
        has_bias: a bias follows the blocks.
        operators: what stands before an operator's name: "aclnn" for those installed on this machine, or
            "<library>:" for functions of a shared library.

    Inputs:
        x: (N, C, H, W), float16 or bfloat16, of a shape that `serves` accepts.
        blocks: (left.0, right.0, left.1, right.1, ...[, bias]), any float type.

    Outputs:
        (N, C, H', W'), type of x.
    """

    def __init__(self, groups: Sequence[Group], has_bias: bool, operators: str = INSTALLED):
        super().__init__()
        self.has_bias = has_bias
        self.count = 2 * len(groups)
        self.channels = sum(group.channels for group in groups)
        self.sizes = (groups[0].left, groups[0].right)
        self.left_runs = tuple(tuple(group.left_runs()) for group in groups)
        self.right_runs = tuple(tuple(group.right_runs()) for group in groups)
        self.product = PlaneProduct(operators)

    def serves(self, x) -> bool:
        """Whether the operators take x; where they do not, one warning says why. Decided when a graph is compiled."""
        return _serves(x.dtype, x.shape, self.channels, self.sizes)

    def construct(self, x, blocks):
        c, h, w = x.shape[1:]
        h_out, w_out = _output_size(c, h, w, self.channels, self.sizes)
        a = assemble(blocks[0 : self.count : 2], self.left_runs, h_out, h)
        b = assemble(blocks[1 : self.count : 2], self.right_runs, w, w_out)
        y = self.product(x, a, b)
        if self.has_bias:
            y = y + ops.reshape(blocks[self.count].astype(x.dtype), (1, -1, 1, 1))
        return y


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
        f16, bf16, f32 = DataType.F16_Default, DataType.BF16_Default, DataType.F32_Default
        self.two_stage = _operator(
            f"{operators}NeoCell",
            {"x": (f16, bf16), "a": (f16, bf16), "b": (f16, bf16)},
            {"y": (f16, bf16)},
            lambda x, a, b: [x[0], x[1], a[1], b[2]],
            lambda x, a, b: x,
        )
        self.kron = _operator(
            f"{operators}NeoCellKron",
            {"x": (f16, bf16), "k": (f16, bf16)},
            {"y": (f16, bf16)},
            lambda x, k: [x[0], x[1], k[1]],
            lambda x, k: x,
        )
        self.gradient = _operator(
            f"{operators}NeoCellGrad",
            {"x": (f16, bf16), "a": (f16, bf16), "b": (f16, bf16), "dy": (f16, bf16)},
            {"dx": (f16, bf16), "da": (f32, f32), "db": (f32, f32)},
            lambda x, a, b, dy: (x, [gradient_splits(x[0], x[1]), *a], [gradient_splits(x[0], x[1]), *b]),
            lambda x, a, b, dy: (x, ms.float32, ms.float32),
        )

    def construct(self, x, a, b):
        n, c, h, w = x.shape
        h_out, w_out = a.shape[1], b.shape[2]
        if _prefers_kron(n, c, h, w, h_out, w_out):
            # K = kron(A, B^T), multiplied in the type of a and b and rounded once
            k = ops.reshape(a, (c, h_out, 1, h, 1)) * ops.reshape(ops.transpose(b, (0, 2, 1)), (c, 1, w_out, 1, w))
            k = ops.reshape(k, (c, h_out * w_out, h * w)).astype(x.dtype)
            return ops.reshape(self.kron(ops.reshape(x, (n, c, h * w)), k), (n, c, h_out, w_out))
        return self.two_stage(x, a.astype(x.dtype), b.astype(x.dtype))

    def bprop(self, x, a, b, out, dout):
        dx, da, db = self.gradient(x, a.astype(x.dtype), b.astype(x.dtype), dout)
        return dx, ops.sum(da, 0).astype(a.dtype), ops.sum(db, 0).astype(b.dtype)


def ascend_package(chip: str, environment=os.environ) -> Path:
    """Folder of the installed operators.

    Args:
        chip: the NPU's name, such as "Ascend910B2" or "Ascend910_9392".
        environment: where ASCEND_CUSTOM_OPP_PATH is looked up, and ASCEND_OPP_PATH for a package in CANN itself.

    Raises:
        Unavailable: a chip that the operators are not for, or no package with all three operators for this chip.
    """
    # The first generation has names such as Ascend910A and Ascend910B, without a digit.
    if re.match(r"Ascend910B\d", chip):
        family = "ascend910b"
    elif chip.startswith("Ascend910_93"):
        family = "ascend910_93"
    else:
        raise Unavailable(f"the AscendC operators are for Ascend 910B and 910_93, and this is {chip}")
    folders = [Path(folder) for folder in environment.get("ASCEND_CUSTOM_OPP_PATH", "").split(":") if folder]
    if environment.get("ASCEND_OPP_PATH"):
        folders += sorted(Path(environment["ASCEND_OPP_PATH"]).glob("vendors/*/"))
    for folder in folders:
        # The list of operators that MindSpore, too, looks them up in.
        listed = folder / "op_impl/ai_core/tbe/config" / family / f"aic-{family}-ops-info.json"
        try:
            names = json.loads(listed.read_text())
        except (OSError, ValueError):
            continue
        if all(name in names for name in OPERATORS) and (folder / "op_api/lib/libcust_opapi.so").exists():
            return folder
    raise Unavailable(
        f"the AscendC operators are not installed for {family}: run `bash ascend_kernels/build.sh` and export "
        "ASCEND_CUSTOM_OPP_PATH as its last line says"
    )


def _operator(name: str, inputs: dict, outputs: dict, shape, dtype) -> ops.Custom:
    """An operator without attributes; inputs and outputs map its tensors' names to their types, (float16, bfloat16)."""
    info = CustomRegOp(name)
    for i, tensor in enumerate(inputs):
        info = info.input(i, tensor, "required")
    for i, tensor in enumerate(outputs):
        info = info.output(i, tensor, "required")
    for types in zip(*inputs.values(), *outputs.values()):
        info = info.dtype_format(*types)
    info = info.target(ms.get_context("device_target")).get_op_info()
    return ops.Custom(name, shape, dtype, "aot", reg_info=info)


@ops.constexpr
def _serves(dtype, shape, channels, sizes) -> bool:
    n, c, h, w = shape
    if dtype not in (ms.float16, ms.bfloat16):
        reason = f"the AscendC operators take float16 and bfloat16, not {str(dtype).lower()}"
    else:
        reason = shape_refusal(h, w, *cell_output_size(c, h, w, channels, sizes))
    if reason:
        warn_fallback(reason)
    return not reason


# Constants of the graph: which operator a shape takes is decided when the graph is compiled.
_output_size = ops.constexpr(cell_output_size)
_prefers_kron = ops.constexpr(prefers_kron)
