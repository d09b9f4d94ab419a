"""The operator: channel groups, block-diagonal assembly, initialisation, formulations and the NeoCell layer."""

from typing import TYPE_CHECKING

from neonext_ms.lazy import lazy
from neonext_ms.ops.groups import Group, output_size, parse_spec

if TYPE_CHECKING:
    from neonext_ms.ops.neocell import NeoCell as NeoCell
    from neonext_ms.ops.neocell3d import Group3d as Group3d
    from neonext_ms.ops.neocell3d import NeoCell3d as NeoCell3d
    from neonext_ms.ops.terms import NeoCellTerms as NeoCellTerms

# These need MindSpore; the arithmetic of groups and costs does not, and stays quick to import.
_LAZY = {
    "Group3d": "neonext_ms.ops.neocell3d",
    "NeoCell": "neonext_ms.ops.neocell",
    "NeoCell3d": "neonext_ms.ops.neocell3d",
    "NeoCellTerms": "neonext_ms.ops.terms",
}
__all__ = ["Group", "output_size", "parse_spec", *_LAZY]
__getattr__, __dir__ = lazy(globals(), _LAZY)
