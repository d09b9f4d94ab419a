"""What this machine offers and what the operator would use on it."""

import os
import platform

from neonext_ms.checkpoint.store import versions
from neonext_ms.ops.cpu.library import cpu_bfloat16
from neonext_ms.ops.fallback import Unavailable
from neonext_ms.ops.precision import matmul_precision
from neonext_ms.runtime.cann import missing_packages
from neonext_ms.runtime.ranks import ascend_available


def environment() -> dict[str, str]:
    """Versions, processors, and the formulation that a NeoCell with backend="auto" takes here, with the reason."""
    from neonext_ms.ops import NeoCell, parse_spec

    ascend = ascend_available()
    cell = NeoCell(parse_spec("7", 7))
    return {
        **versions(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
        "Ascend NPUs": _ascend_devices() if ascend else "none that MindSpore can use: running on the CPU",
        "NeoCell backend": f"{cell.backend} ({cell.backend_reason})",
        **({} if ascend else {"CPU products": _cpu_products()}),
    }


def _cpu_products() -> str:
    """How MLPs and pointwise layers multiply, and how they would in bfloat16."""
    try:
        units = cpu_bfloat16()
    except Unavailable:
        return "MindSpore's own"
    how = "by rounding float32, which is no faster" if units == "rounded" else f"by {units} instructions"
    return f"matmul_precision {matmul_precision()}; bfloat16 {how}"


def _ascend_devices() -> str:
    import mindspore.hal

    count = mindspore.hal.device_count("Ascend")
    devices = f"{count} x {mindspore.hal.get_device_name(0, 'Ascend')}" if count else "none is counted"
    lacking = missing_packages()
    return f"{devices}; CANN needs {', '.join(lacking)}: pip install 'neonext_ms[ascend]'" if lacking else devices
