"""The compiled CPU path as a shared library: found in the user's cache, or built there on first use.

Nothing here runs before a layer asks for it. A library is named by everything it depends on (sources, compiler and
processor), so a changed source or another machine on the same home directory never meets a stale one.
"""

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from neonext_ms.ops.backend import Unavailable

log = logging.getLogger(__name__)

_FLAGS = ["-std=c++17", "-O3", "-ffp-contract=fast", "-fPIC", "-shared", "-pthread", "-Wl,-z,nodelete"]
_CPU_FIELDS = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU implementer", "CPU part")


def cpu_library() -> Path:
    """Path of the library, built first if need be.

    Raises:
        Unavailable: no compiler, or a build that failed. The same answer for the rest of the process.
    """
    result = _library_or_reason()
    if isinstance(result, str):
        raise Unavailable(result)
    return result


def cpu_vector_width() -> str:
    """The instructions that the library was compiled for: avx512, avx2, neon or plain."""
    library = ctypes.CDLL(str(cpu_library()))
    library.neonext_simd.restype = ctypes.c_char_p
    return library.neonext_simd().decode()


def set_cpu_threads(count: int):
    """Let the compiled path use `count` threads; 0 means NEONEXT_NUM_THREADS or, without it, all processors.

    Results are the same bits for any number.
    """
    ctypes.CDLL(str(cpu_library())).neonext_set_threads(count)


def cache_directory() -> Path:
    """Where libraries are kept: NEONEXT_CACHE_DIR, or neonext_ms in the user's cache directory."""
    if os.environ.get("NEONEXT_CACHE_DIR"):
        return Path(os.environ["NEONEXT_CACHE_DIR"])
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "neonext_ms"


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
        built = sorted(cache_directory().glob(f"{prefix}*.so"))
        if not built:
            raise
        return built[-1]  # built before the compiler went, such as in the making of a container
    name = f"{prefix}{_compiler_key(compiler)}.so"
    with _writable(cache_directory(), name) as folder:
        library = folder / name
        if not library.exists():
            _build(sources, compiler, library)
    return library


def _sources() -> list[Path]:
    """The C++ files: in a checkout beside the package, in an installed package inside it."""
    here = Path(__file__).resolve().parent
    for folder in (here.parents[2] / "ascend_kernels" / "cpu", here / "kernel"):
        if (folder / "neo_cell.cpp").exists():
            return sorted(path for path in folder.iterdir() if path.suffix in (".cpp", ".h"))
    raise Unavailable("the C++ sources of the CPU kernel are not installed")


def _compiler() -> str:
    """The C++ compiler: CXX, else g++, c++ or clang++, whichever is found first."""
    wanted = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "c++", "clang++"]
    for name in wanted:
        path = shutil.which(name)
        if path:
            return path
    raise Unavailable(f"no C++ compiler: {', '.join(wanted)} not found on PATH (install g++, or set CXX)")


def _key(sources: list[Path]) -> str:
    """Names what is built, and the processor it is for."""
    digest = hashlib.sha256(_processor().encode())
    for path in sources:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _compiler_key(compiler: str) -> str:
    """Names the compiler and its options."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    return hashlib.sha256("\0".join([compiler, version, *_FLAGS]).encode()).hexdigest()[:8]


def _processor() -> str:
    """What tells processors apart for the compiler."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    return "\n".join(line for line in first if line.split("\t")[0].split(":")[0].strip() in _CPU_FIELDS)


@contextlib.contextmanager
def _writable(folder: Path, name: str):
    """The folder, locked, so that of several processes one builds and the others wait for it.

    Gives a private temporary folder, removed when the process ends, where the cache cannot be written.
    """
    if (folder / name).exists():
        yield folder
        return
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = open(folder / f"{name}.lock", "w")
    except OSError as error:
        temporary = _temporary_folder()
        log.info("The CPU kernel cannot be kept for the next run (%s): it is built for this process alone.", error)
        yield temporary
        return
    with lock:
        with contextlib.suppress(OSError):  # a file system without locks: two may build, and either result serves
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


@functools.cache
def _temporary_folder() -> Path:
    # Held by the cache of this function for as long as the process lives.
    holder = tempfile.TemporaryDirectory(prefix="neonext_ms-")
    _temporary_folder.holder = holder
    return Path(holder.name)


def _build(sources: list[Path], compiler: str, library: Path):
    """Compile to a temporary name, so that the library appears whole or not at all."""
    log.info("Compiling the CPU kernel with %s, once for this machine...", compiler)
    native = "-mcpu=native" if platform.machine() == "aarch64" else "-march=native"
    units = [str(path) for path in sources if path.suffix == ".cpp"]
    handle, temporary = tempfile.mkstemp(prefix=f".{library.name}-", dir=library.parent)
    os.close(handle)
    try:
        done = subprocess.run([compiler, *_FLAGS, native, *units, "-o", temporary], capture_output=True, text=True)
        if done.returncode != 0:
            raise Unavailable(f"{compiler} failed to build the CPU kernel: {_first_error(done.stderr)}")
        os.replace(temporary, library)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _first_error(text: str) -> str:
    """The compiler's message, from its first error on, at most three lines."""
    lines = [line for line in text.splitlines() if line.strip()]
    start = next((i for i, line in enumerate(lines) if "error" in line), 0)
    return " ".join(line.strip() for line in lines[start : start + 3]) or "no message"


def main():
    """Build now, and say where: `python -m neonext_ms.ops.cpu.library`."""
    try:
        sys.stdout.write(f"{cpu_library()} ({cpu_vector_width()})\n")
    except Unavailable as unavailable:
        sys.exit(f"error: {unavailable}")


if __name__ == "__main__":
    main()
