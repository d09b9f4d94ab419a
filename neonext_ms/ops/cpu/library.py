"""The compiled CPU path as a shared library: found in the user's cache, or built there on first use.

Nothing here runs before a layer asks for it. A library is named by everything it depends on (sources, compiler and
processor), so a changed source or another machine on the same home directory never meets a stale one.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from neonext_ms.errors import UserError
from neonext_ms.ops.cpu.cache import find_kept, find_or_build
from neonext_ms.ops.fallback import Unavailable
from neonext_ms.ops.precision import matmul_precision

log = logging.getLogger(__name__)

_FLAGS = ["-std=c++17", "-O3", "-ffp-contract=fast", "-fPIC", "-shared", "-pthread", "-Wl,-z,nodelete"]
_CPU_FIELDS = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU implementer", "CPU part")


def cpu_library() -> Path:
    """Path of the library, built first if need be.

    Raises:
        Unavailable: no compiler, or a build that failed. The same answer for the rest of the process.
        UserError: NEONEXT_NUM_THREADS is not a number.
    """
    _check_threads()
    result = _library_or_reason()
    if isinstance(result, str):
        raise Unavailable(result)
    return result


def cpu_function(name: str) -> str:
    """A function that multiplies, in the precision of `set_matmul_precision`, as MindSpore wants it: library:name."""
    return f"{cpu_library()}:{name}{'_bfloat16' if matmul_precision() == 'bfloat16' else ''}"


def cpu_vector_width() -> str:
    """The instructions that the library was compiled for: avx512, avx2, neon or plain."""
    return _text("neonext_simd")


def cpu_bfloat16() -> str:
    """What multiplies in bfloat16 here: amx, avx512_bf16, or rounded (rounding, and then float32)."""
    return _text("neonext_bfloat16")


def _text(function: str) -> str:
    function = getattr(ctypes.CDLL(str(cpu_library())), function)
    function.restype = ctypes.c_char_p
    return function().decode()


def set_cpu_threads(count: int):
    """Let the compiled path use `count` threads; 0 means NEONEXT_NUM_THREADS or, without it, all processors.

    Results are the same bits for any number.
    """
    ctypes.CDLL(str(cpu_library())).neonext_set_threads(count)


@functools.cache
def _check_threads():
    """The kernel reads the variable by itself, and would take what it cannot read for "all processors"."""
    text = os.environ.get("NEONEXT_NUM_THREADS", "").strip()
    if text and not (text.isascii() and text.isdecimal() and len(text) < 9 and int(text) <= 1024):
        raise UserError(f"NEONEXT_NUM_THREADS is {text[:20]!r}, expected a number of threads up to 1024, or 0 for all")


@functools.cache
def _library_or_reason() -> Path | str:
    """The library, or why there is none. Remembered: a failed build is not tried again for every layer."""
    try:
        library = _find_or_build(_sources())
        ctypes.CDLL(str(library))
        return library.resolve()
    except (Unavailable, OSError) as error:
        return str(error)


def _find_or_build(sources: list[Path]) -> Path:
    # Two halves of a name: what the library is for, and what it was made with.
    prefix = f"libneonext_cpu-{_key(sources)}-"
    try:
        compiler = _compiler()
    except Unavailable:
        kept = find_kept(f"{prefix}*.so")  # built before the compiler went, such as in the making of a container
        if kept is None:
            raise
        return kept
    return find_or_build(f"{prefix}{_compiler_key(compiler)}.so", lambda library: _build(sources, compiler, library))


def _sources() -> list[Path]:
    """The C++ files: in a checkout beside the package, in an installed package inside it."""
    here = Path(__file__).resolve().parent
    for folder in (here.parents[2] / "ascend_kernels" / "cpu", here / "kernel"):
        if (folder / "neo_cell.cpp").exists():
            return sorted(path for path in folder.iterdir() if path.suffix in (".cpp", ".h"))
    raise Unavailable("the C++ sources of the CPU kernel are not installed")


def _compiler() -> list[str]:
    """The C++ compiler: CXX, which may have options or a wrapper ("ccache g++"); else g++, c++ or clang++."""
    wanted = [_words(os.environ["CXX"])] if os.environ.get("CXX", "").strip() else [["g++"], ["c++"], ["clang++"]]
    for name, *options in wanted:
        path = shutil.which(name)
        if path:
            return [path, *options]
    names = ", ".join(name for name, *_ in wanted)
    advice = (
        "CXX names it: install it, or set CXX to another"
        if os.environ.get("CXX", "").strip()
        else "install g++, or set CXX"
    )
    raise Unavailable(f"no C++ compiler: {names} not found on PATH ({advice})")


def _words(command: str) -> list[str]:
    if shutil.which(command):  # a path with spaces in it
        return [command]
    try:
        return shlex.split(command)
    except ValueError as error:
        raise Unavailable(f"CXX is {command!r}, expected a command: {error}") from None


def _key(sources: list[Path]) -> str:
    """Names what is built, and the processor it is for."""
    digest = hashlib.sha256(_processor().encode())
    for path in sources:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _compiler_key(compiler: list[str]) -> str:
    """Names the compiler and its options."""
    version = _run([*compiler, "--version"]).stdout
    return hashlib.sha256("\0".join([*compiler, version, *_FLAGS]).encode()).hexdigest()[:8]


def _processor() -> str:
    """What tells processors apart for the compiler."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    return "\n".join(line for line in first if line.split("\t")[0].split(":")[0].strip() in _CPU_FIELDS)


def _build(sources: list[Path], compiler: list[str], library: Path):
    log.info("Compiling the CPU kernel with %s, once for this machine...", shlex.join(compiler))
    native = "-mcpu=native" if platform.machine() == "aarch64" else "-march=native"
    units = [str(path) for path in sources if path.suffix == ".cpp"]
    done = _run([*compiler, *_FLAGS, native, *units, "-o", str(library)])
    if done.returncode != 0:
        raise Unavailable(f"{shlex.join(compiler)} failed to build the CPU kernel: {_first_error(done.stderr)}")


def _run(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, errors="replace")


def _first_error(text: str) -> str:
    """The compiler's message, from its first error on, at most three lines."""
    lines = [line for line in text.splitlines() if line.strip()]
    start = next((i for i, line in enumerate(lines) if "error" in line), 0)
    return " ".join(line.strip() for line in lines[start : start + 3]) or "no message"


def main():
    """Build now, and say where: `python -m neonext_ms.ops.cpu.library`."""
    try:
        sys.stdout.write(f"{cpu_library()} ({cpu_vector_width()})\n")
    except (Unavailable, UserError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
