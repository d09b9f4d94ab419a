"""What this machine offers and what the operator would use on it."""

import os
import platform

from neonext_ms.checkpoint.store import versions
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
    }


def _ascend_devices() -> str:
    import mindspore.hal

    return f"{mindspore.hal.device_count('Ascend')} x {mindspore.hal.get_device_name(0, 'Ascend')}"
