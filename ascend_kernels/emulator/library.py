"""Builds the emulator with the kernels into one shared library (g++ is all it needs) and calls it from Python.

Only the standard library is imported here. A shape is (N, C, H, W, H', W'): images, channels, plane, output plane; the
Kronecker operator takes planes as rows: (N, C, 1, H*W, 1, H'*W').
"""

import ctypes
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

KERNELS = Path(__file__).resolve().parents[1]
CORE = ("device", "formats", "global_memory", "instructions", "machine", "vector")  # what any kernel needs
SOURCES = ("kernels", *CORE, "timeline", "plans", "host", "library", "aot")  # the one that takes longest first


def compile_command(root: Path, source: Path, output: Path) -> list[str]:
    """The command that compiles one C++ file; `root` is the folder with emulator/, common/ and op_kernel/."""
    folders = [root / "emulator", root / "common", root / "op_kernel"]
    # -ffp-contract=off: a fused multiply-add would round differently from one machine to the next
    return [
        "g++",
        "-std=c++17",
        "-O2",
        "-ffp-contract=off",
        "-fPIC",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unused-parameter",
        *(f"-I{folder}" for folder in folders),
        "-c",
        str(source),
        "-o",
        str(output),
    ]


def run(command: list[str]) -> None:
    """Runs a compiler; RuntimeError with its messages if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")


def link(objects: list[Path], library: Path) -> Path:
    run(["g++", "-shared", *map(str, objects), "-o", str(library)])
    return library


def build_library(folder: Path) -> Path:
    """The emulator with the kernels, beside its object files, or the library that NEO_CELL_LIBRARY names (check.sh)."""
    if ready := os.environ.get("NEO_CELL_LIBRARY"):
        return Path(ready)
    objects = [folder / f"{name}.o" for name in SOURCES]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda o: run(compile_command(KERNELS, KERNELS / "emulator" / f"{o.stem}.cpp", o)), objects))
    return link(objects, folder / "libneocell.so")


class Emulator:
    """A loaded library."""

    def __init__(self, library: Path | str):
        self.library = ctypes.CDLL(str(library))
        self.library.neo_cell_emulate.restype = ctypes.c_char_p

    def report(self, operator: str, dtype: str, shape, cores: int, tensors=None) -> dict:
        """Runs an operator on arrays in its order of arguments, or dry (core 0 only, no data) without them.

        dtype is "float16" or "bfloat16".
        Returns refusal, violations, races, tiling, counters of all cores ("total") and of core 0 ("core"), and the
        modelled cycles of core 0.
        """
        pointers = None
        if tensors is not None:
            pointers = (ctypes.c_void_p * len(tensors))(*(t.ctypes.data for t in tensors))
        text = self.library.neo_cell_emulate(
            operator.encode(), int(dtype == "bfloat16"), (ctypes.c_uint32 * len(shape))(*shape), cores, pointers
        )
        return json.loads(text)

    def prefers_kron(self, shape) -> bool:
        """True where the tiling takes the Kronecker kernel for the forward; shape with the true planes."""
        return bool(self.library.neo_cell_prefers_kron((ctypes.c_uint32 * 6)(*shape)))

    def prefers_mlp(self, shape) -> bool:
        """True where one kernel is the faster MLP of (N, channels, hidden channels, pixels)."""
        return bool(self.library.pointwise_prefers_mlp((ctypes.c_uint32 * 4)(*shape)))


def launch_shape(operator: str, shape) -> tuple[int, ...]:
    """The shape as the operator's tiling sees it."""
    n, c, h, w, ho, wo = shape
    return (n, c, 1, h * w, 1, ho * wo) if operator == "neo_cell_kron" else tuple(shape)
