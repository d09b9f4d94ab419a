"""Which compiled operators there are on this machine: the one place where devices are known by name."""

import ctypes

import mindspore as ms
from mindspore import nn

from neonext_ms.errors import UserError
from neonext_ms.ops.ascend.neocell import AscendNeoCell
from neonext_ms.ops.ascend.package import ascend_package, missing_for_operators
from neonext_ms.ops.ascend.pointwise import AscendBranch, AscendPointwise
from neonext_ms.ops.cpu.batch_norm import FusedBatchNorm
from neonext_ms.ops.cpu.gated import FusedGatedBranch, FusedHalves
from neonext_ms.ops.cpu.library import cpu_library, cpu_vector_width
from neonext_ms.ops.cpu.mlp import FusedBranch, FusedMLP, FusedResidualMLP
from neonext_ms.ops.cpu.neocell import FusedNeoCell
from neonext_ms.ops.cpu.pointwise import FusedPointwise
from neonext_ms.ops.cpu.update import AdamWUpdate, Average, Join, SGDUpdate, SumOfSquares
from neonext_ms.ops.fallback import Unavailable, warn_fallback
from neonext_ms.ops.precision import matmul_precision, using_matmul_precision

_COMPILED = {
    "CPU": {
        "neocell": FusedNeoCell,
        "mlp": FusedMLP,
        "residual_mlp": FusedResidualMLP,
        "norm_branch": FusedBranch,
        "pointwise": FusedPointwise,
        "halves": FusedHalves,
        "gated_branch": FusedGatedBranch,
        "batch_norm": FusedBatchNorm,
        "average": Average,
        "sum_of_squares": SumOfSquares,
        "adamw": AdamWUpdate,
        "sgd": SGDUpdate,
        "join": Join,
    },
    "Ascend": {"neocell": AscendNeoCell, "branch": AscendBranch, "pointwise": AscendPointwise},
}


def compiled(kind: str, backend: str) -> type[nn.Cell] | None:
    """The Cell of a compiled operator, or None where a layer runs on MindSpore's own operators.

    Args:
        kind: a key of _COMPILED.
        backend: of the layer. "auto" falls back where nothing is compiled, with one warning; "fused" insists; any
            other asks for MindSpore's operators.

    Raises:
        UserError: backend is "fused" and there are no compiled operators here.
    """
    device = _device_and_reason(backend)[0]
    return _COMPILED[device].get(kind) if device else None


def backend_reason(backend: str) -> str:
    """Why `compiled` answers as it does for NeoCell, in one line; the same arguments and errors."""
    return _device_and_reason(backend)[1]


def check_precision(precision: str | None, backend: str = "auto"):
    """Refuse bfloat16 where no layer of this backend would multiply in it; None is what was set.

    Raises:
        UserError: with the reason.
    """
    with using_matmul_precision(precision):
        if matmul_precision() == "bfloat16" and compiled("mlp", backend) is None:
            raise UserError(
                "matmul_precision=bfloat16 is of the compiled layers of a CPU, which are not used here "
                f"({backend_reason(backend)}): use highest, or on an NPU amp_level=O2 with amp_dtype=bfloat16"
            )


def _device_and_reason(backend: str) -> tuple[str, str]:
    """The device whose compiled operators a layer of this backend takes, or "" for none, and why."""
    if backend not in ("auto", "fused"):
        return "", f"the backend {backend} was asked for"
    try:
        device = ms.get_context("device_target")
        if device == "CPU":
            return device, f"compiled kernel, {cpu_vector_width()}: {cpu_library()}"
        if device == "Ascend":
            package = ascend_package(_chip())
            if lacking := missing_for_operators():
                raise Unavailable(f"the AscendC operators cannot be called: {lacking}")
            return device, f"AscendC operators for float16 and bfloat16: {package}"
        raise Unavailable(f"there is no compiled operator for {device}")
    except Unavailable as unavailable:
        reason = str(unavailable)
    if backend == "fused":
        raise UserError(f"the backend 'fused' is not available: {reason}; use 'auto' or 'dense'")
    warn_fallback(reason)
    return "", reason


def on_ascend() -> bool:
    """Whether graphs are compiled for an NPU, which has operators of its own for what takes others several."""
    return ms.get_context("device_target") == "Ascend"


def _chip() -> str:
    """The name of the first NPU, or of the one that a simulation (MS_SIMULATION_LEVEL) compiles for."""
    try:
        return ms.hal.get_device_name(0, "Ascend")
    except (ValueError, RuntimeError) as error:
        # None is counted: a package without Ascend, no driver, all devices hidden, or a simulation.
        name = _chip_of_cann()
        if not name:
            reason = "MindSpore finds no NPU, whose name would tell which AscendC operators to take"
            raise Unavailable(reason) from error
        return name


def _chip_of_cann() -> str:
    """What CANN's runtime, which MindSpore has loaded, calls the chip; "" if it is not there or knows none."""
    try:
        name_of_chip = ctypes.CDLL("libascendcl.so").aclrtGetSocName
    except (OSError, AttributeError):
        return ""
    name_of_chip.restype = ctypes.c_char_p
    return (name_of_chip() or b"").decode()
