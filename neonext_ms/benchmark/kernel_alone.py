"""The compiled library called without MindSpore in between."""

import ctypes
import mmap
import statistics
import time
from collections.abc import Sequence

import numpy as np

from neonext_ms.ops import NeoCell
from neonext_ms.ops.cpu.library import cpu_function, cpu_library


class KernelChain:
    """The kernels of a chain of NeoCells, in the buffers that MindSpore gives such a graph.

    A forward graph alternates between two buffers. With backward every cell's input stays, and a gradient takes the
    buffer of the input that was needed last. So a chain of kernels and a graph find the same data in the caches.

    Args:
        cells: NeoCells of the compiled kernel that keep the shape of their input, without bias.
        x: (N, C, H, W) float32.
        backward: forward of all cells and then backward of all, or forward only.
    """

    def __init__(self, cells: Sequence[NeoCell], x: np.ndarray, backward: bool):
        library = ctypes.CDLL(str(cpu_library()))
        count = len(cells) if backward else 2
        buffers = [_buffer(x) for _ in range(count)]
        values = [x] + [buffers[i % count] for i in range(len(cells))]
        layouts = [cell.fused.layout.asnumpy() for cell in cells]
        blocks = [[p.asnumpy() for pair in zip(cell.left, cell.right) for p in pair] for cell in cells]
        self.calls = [
            _Call(library.neocell_forward, [values[i], layouts[i], *blocks[i], values[i + 1]])
            for i in range(len(cells))
        ]
        if backward:
            dy, free = _buffer(x), _buffer(x)
            dy[:] = x
            for i in reversed(range(len(cells))):
                dblocks = [np.empty_like(block) for block in blocks[i]]
                dbias = np.empty(x.shape[1], np.float32)
                tensors = [values[i], dy, layouts[i], *blocks[i], free, *dblocks, dbias]
                self.calls.append(_Call(library.neocell_backward, tensors))
                dy, free = free, values[i]

    def run(self):
        for call in self.calls:
            call()


def _buffer(like: np.ndarray) -> np.ndarray:
    """Zeros in pages of the usual size, as MindSpore's memory: numpy asks the system for huge ones."""
    memory = mmap.mmap(-1, like.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    array = np.frombuffer(memory, like.dtype).reshape(like.shape)
    array[:] = 0  # the first touch of a page is the system's work
    return array


class Peak:
    """How many multiplications and additions all threads can do: a loop of multiply-adds in registers, in the precision
    of `set_matmul_precision`; of AMX, a loop of products of tiles in the first cache.

    Every `run` takes about `seconds`. `median` is of all runs, in 10^9 operations a second; a multiply-add is two.
    """

    def __init__(self, seconds: float = 0.02):
        self._gflops = []
        self._loops, self._result = np.array([1e4], np.float32), np.empty(1, np.float32)
        self._call = _Call(_function("neonext_peak"), [self._loops, self._result])
        while self._seconds() < seconds:
            self._loops *= 2

    def _seconds(self) -> float:
        start = time.perf_counter()
        self._call()
        return time.perf_counter() - start

    def run(self):
        self._call()
        self._gflops.append(float(self._result[0]))

    def median(self) -> float:
        return statistics.median(self._gflops)


class Copy:
    """`count` float32 from one place in memory to another, by all threads.

    Raises:
        Unavailable: there is no compiled library here.
    """

    def __init__(self, count: int):
        library = ctypes.CDLL(str(cpu_library()))
        self.run = _Call(library.neonext_copy, [np.ones(count, np.float32), np.ones(count, np.float32)])


def _function(name: str):
    library, name = cpu_function(name).rsplit(":", 1)
    return getattr(ctypes.CDLL(library), name)


class _Call:
    """A function of the library with its tensors, inputs before outputs."""

    def __init__(self, function, arrays: Sequence[np.ndarray]):
        count = len(arrays)
        shapes = [(ctypes.c_int64 * a.ndim)(*a.shape) for a in arrays]
        self.function = function
        self.arrays = arrays  # kept alive: the arguments are addresses
        self.arguments = (
            count,
            (ctypes.c_void_p * count)(*(a.ctypes.data for a in arrays)),
            (ctypes.c_int * count)(*(a.ndim for a in arrays)),
            (ctypes.POINTER(ctypes.c_int64) * count)(*shapes),
            (ctypes.c_char_p * count)(*(a.dtype.name.encode() for a in arrays)),
            None,
            None,
        )

    def __call__(self):
        code = self.function(*self.arguments)
        if code:
            raise RuntimeError(f"the kernel returned {code}")
