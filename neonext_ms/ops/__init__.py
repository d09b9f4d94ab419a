"""The operator: channel groups, block-diagonal assembly, initialisation, formulations and the NeoCell layer."""

from importlib import import_module

from neonext_ms.ops.groups import Group, output_size, parse_spec

# These need MindSpore; the arithmetic of groups and costs does not, and stays quick to import.
_LAZY = {
    "Group3d": "neonext_ms.ops.neocell3d",
    "NeoCell": "neonext_ms.ops.neocell",
    "NeoCell3d": "neonext_ms.ops.neocell3d",
    "NeoCellTerms": "neonext_ms.ops.terms",
}
__all__ = ["Group", "output_size", "parse_spec", *_LAZY]


def __getattr__(name):
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
