"""The machine that figures were measured on."""

import contextlib
import os
import platform
from pathlib import Path

from neonext_ms.ops.cpu.library import cpu_bfloat16, cpu_vector_width
from neonext_ms.ops.fallback import Unavailable


def describe_machine(torch: str | None = None, openvino: str | None = None) -> dict:
    """Processor, cores, load, versions.

    Args:
        torch, openvino: versions of PyTorch and OpenVINO, where they took part.
    """
    import mindspore

    names = [
        line.split(":")[1].strip() for line in _read("/proc/cpuinfo").splitlines() if line.startswith("model name")
    ]
    try:
        vectors = f"{cpu_vector_width()} (bfloat16: {cpu_bfloat16()})"
    except Unavailable as unavailable:
        vectors = f"no compiled kernel: {unavailable}"
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "vectors": vectors,
        "mindspore": mindspore.__version__,
        "torch": torch,
        "openvino": openvino,
    }


def machine_line(machine: dict) -> str:
    """One sentence about what `describe_machine` found."""
    titles = {"mindspore": "MindSpore", "torch": "PyTorch", "openvino": "OpenVINO"}
    versions = ", ".join(f"{title} {machine[key]}" for key, title in titles.items() if machine.get(key))
    return (
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load']} when measured; compiled kernel: "
        f"{machine['vectors']}; {versions}."
    )


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text()
    return ""
