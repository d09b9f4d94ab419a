"""The operator: channel groups, block-diagonal assembly, initialisation, formulations and the NeoCell layer."""

from neonext_ms.ops.groups import Group, output_size, parse_spec

__all__ = ["Group", "NeoCell", "output_size", "parse_spec"]


def __getattr__(name):
    # NeoCell needs MindSpore; the arithmetic of groups and costs does not, and stays quick to import.
    if name == "NeoCell":
        from neonext_ms.ops.neocell import NeoCell

        return NeoCell
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
