"""What a graph's kernels cost on an NPU: bytes, cube operations and launches, and a time from them.

A kernel is {name, kind, inputs, outputs, scope} as `ascend_kernels/dryrun` writes it, a tensor [type, shape]. Nothing
here was measured on an NPU.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """Cube cores and their clock in MHz, from platform_config of CANN 8.1.RC1.

    A core moves 32 bytes of device memory a cycle and multiplies 16 x 16 x 16 elements of float16; of float32 a quarter
    of these: an estimate.
    """

    cores: int
    megahertz: int

    @property
    def bytes_a_second(self) -> float:
        return self.cores * 32 * self.megahertz * 1e6

    def flop_a_second(self, dtype: str) -> float:
        products = 16**3 if dtype in ("Float16", "BFloat16") else 1024
        return self.cores * 2 * products * self.megahertz * 1e6


CHIPS = {
    "910B1": Chip(24, 1850),
    "910B2": Chip(24, 1800),
    "910B3": Chip(20, 1800),
    "910B4": Chip(20, 1500),
    "910_93": Chip(24, 1850),
}
CHIP = CHIPS["910B2"]  # where none is named
# Estimates: the shares of its peaks that kernels of a vendor's library reach, and what a kernel takes besides.
MEMORY_SHARE, CUBE_SHARE, KERNEL_SECONDS = 0.8, 0.7, 2e-6
# Estimates of the host's time for a launch, by kind of kernel.
LAUNCH_SECONDS = {"opapi": 7e-6, "acl": 25e-6, "akg": 7e-6, "hccl": 15e-6, "rt": 4e-6}
# Estimate: what collectives between the NPUs of one machine move a second.
LINK_BYTES_A_SECOND = 100e9

BYTES = {"Float32": 4, "Float16": 2, "BFloat16": 2, "Int32": 4, "Int64": 8, "Bool": 1, "UInt8": 1, "Int8": 1}
NO_LAUNCH = ("Reshape", "ExpandDims")  # the same memory under another shape; views of kind "host" likewise
_PRODUCTS = ("MatMul", "MatMulExt", "BatchMatMul", "BatchMatMulExt", "Dense")
# Where a convolution's planes of the output side and its weights are: (list, position).
_CONVOLUTIONS = {
    "Conv2D": (("outputs", 0), ("inputs", 1)),
    "Conv2DBackpropInput": (("inputs", 0), ("inputs", 1)),
    "Conv2DBackpropFilter": (("inputs", 0), ("outputs", 0)),
}
_COPIES = ("Assign", "InplaceCopy")  # their target is written, not read


@dataclass(frozen=True)
class Cost:
    """Of one step: what is launched, moved and multiplied, and seconds from that.

    Attributes:
        launches: kernels that are launched; legacy, collectives, casts, transposes: of them.
        bytes: through device memory. flop: of the cube.
        device: seconds of the kernels one after another; host: of their launches.
        floor: seconds of products and NeoCells alone, at the chip's peaks, and of the optimizer's state.
        largest: (name, kernels, device seconds) of the kinds that take the most.
    """

    launches: int
    legacy: int
    collectives: int
    casts: int
    transposes: int
    bytes: int
    flop: float
    device: float
    host: float
    floor: float
    largest: tuple[tuple[str, int, float], ...]


def cost(graph: Sequence[dict], chip: Chip = CHIP, emulated=None) -> Cost:
    """Of the kernels of a graph, or of several that make a step; `emulated` as for `device_seconds`."""
    launched = [kernel for kernel in graph if is_launched(kernel)]
    kinds = Counter(kernel["kind"] for kernel in launched)
    names = Counter(kernel["name"] for kernel in launched)
    seconds = Counter()
    for kernel in launched:
        seconds[kernel["name"]] += device_seconds(kernel, chip, emulated)
    largest = tuple((name, names[name], time) for name, time in seconds.most_common(12))
    return Cost(
        launches=len(launched),
        legacy=kinds["acl"],
        collectives=kinds["hccl"],
        casts=names["Cast"],
        transposes=names["Transpose"],
        bytes=sum(moved(kernel) for kernel in launched),
        flop=sum(multiplied(kernel) for kernel in launched),
        device=sum(seconds.values()),
        host=sum(LAUNCH_SECONDS[kernel["kind"]] for kernel in launched),
        floor=sum(floor_seconds(kernel, chip) for kernel in launched),
        largest=largest,
    )


def is_launched(kernel: dict) -> bool:
    """Whether the device gets anything to do."""
    return kernel["kind"] != "host" and kernel["name"] not in NO_LAUNCH


def moved(kernel: dict) -> int:
    """Bytes through device memory: every tensor once."""
    if kernel["name"] in _COPIES:
        return 2 * _size(kernel["inputs"][1])
    return sum(_size(tensor) for tensor in (*kernel["inputs"], *kernel["outputs"]))


def multiplied(kernel: dict) -> float:
    """Floating-point operations of the cube unit."""
    name, inputs, outputs = kernel["name"], kernel["inputs"], kernel["outputs"]
    if name in _PRODUCTS:
        rows, (a, b) = outputs[0][1][-2], inputs[0][1][-2:]
        return 2.0 * math.prod(outputs[0][1]) * (b if a == rows else a)
    if name in _CONVOLUTIONS:
        (n, _, h, w), weights = (kernel[side][place][1] for side, place in _CONVOLUTIONS[name])
        return 2.0 * n * h * w * math.prod(weights)
    if "aclnnPointwiseMlp" in name:
        return 4.0 * math.prod(outputs[0][1]) * inputs[1][1][0]
    if "aclnnPointwise" in name:
        (_, first), (_, second) = inputs[:2]
        return 2.0 * (math.prod(first) * second[1] if "WeightGrad" in name else math.prod(outputs[0][1]) * first[1])
    if "aclnnNeoCell" in name:
        return _neocell(name, [shape for _, shape in inputs])
    return 0.0


def _neocell(name: str, shapes: list[list[int]]) -> float:
    """Of the project's operators, as their kernels multiply: densely."""
    if "Kron" in name:
        (n, c, inside), (_, outside, _) = shapes
        return 2.0 * n * c * inside * outside
    (n, c, h, w), (_, h_out, _), (_, _, w_out) = shapes[:3]
    left, right = h_out * h * w, h_out * w * w_out
    if "Grad" in name:  # dY B^T, A^T (dY B^T), A X, (A X)^T dY, (dY B^T) X^T
        return 2.0 * n * c * (2 * right + 3 * left)
    return 2.0 * n * c * (left + right)


def device_seconds(kernel: dict, chip: Chip = CHIP, emulated=None) -> float:
    """Of one kernel: memory or cube, whichever takes longer, at the estimated shares of their peaks.

    Args:
        emulated: gives seconds of the project's operators by kernel and chip, and None of others (`OperatorTimes`).
    """
    if kernel["kind"] == "hccl":
        return KERNEL_SECONDS + moved(kernel) / LINK_BYTES_A_SECOND
    own = emulated(kernel, chip) if emulated else None
    if own is not None:
        return KERNEL_SECONDS + own
    memory = moved(kernel) / (chip.bytes_a_second * MEMORY_SHARE)
    return KERNEL_SECONDS + max(memory, _cube_seconds(kernel, chip) / CUBE_SHARE)


def floor_seconds(kernel: dict, chip: Chip = CHIP) -> float:
    """The least that this kernel's work must take: nothing for what could be part of another kernel."""
    compulsory = multiplied(kernel) > 0 or kernel["name"].startswith(("Adam", "GraphKernel_Adam"))
    return max(moved(kernel) / chip.bytes_a_second, _cube_seconds(kernel, chip)) if compulsory else 0.0


def _cube_seconds(kernel: dict, chip: Chip) -> float:
    flop = multiplied(kernel)
    return flop / chip.flop_a_second(kernel["inputs"][0][0]) if flop else 0.0


def _size(tensor) -> int:
    kind, shape = tensor
    return BYTES.get(kind, 4) * math.prod(shape)
