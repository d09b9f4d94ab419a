"""safetensors files: tensors by name and, as JSON in their metadata, what is said about them."""

import json
import struct
from pathlib import Path

import numpy as np

from neonext_ms.checkpoint import bounds
from neonext_ms.checkpoint.fields import parse_json, readable
from neonext_ms.errors import UserError
from neonext_ms.texts import to_json

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}
TYPES |= {"I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """uint16 patterns to the float32 of the same value."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def parse_safetensors(data: bytes, path: Path) -> dict[str, np.ndarray]:
    """The tensors in a file's bytes; bfloat16 becomes float32.

    Raises:
        UserError: these are no such bytes.
    """
    import safetensors

    try:
        entries = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise UserError(f"{path} is not a safetensors file, or a damaged one ({bounds.reason(error)})") from None
    state = {}
    for name, entry in entries:
        if entry["dtype"] not in TYPES:
            known = " ".join(TYPES)
            raise UserError(f"{path}: {readable(name)} is of type {entry['dtype']}, expected one of {known}")
        try:
            values = bounds.array(entry["data"], np.dtype(TYPES[entry["dtype"]]), tuple(entry["shape"]))
        except ValueError as error:
            raise UserError(f"{path} is not a safetensors file, or a damaged one ({bounds.reason(error)})") from None
        state[name] = bfloat16_to_float32(values) if entry["dtype"] == "BF16" else values
    return state


def read_metadata(path: Path) -> dict:
    """The JSON values that `safetensors_bytes` put into a file; nothing of a file of another program or kind."""
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = file.read(length) if length < path.stat().st_size else b""
        texts = parse_json(header).get("__metadata__", {})
        return {key: json.loads(text) for key, text in texts.items() if key != "format"}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError, struct.error):
        return {}


def safetensors_bytes(state: dict[str, np.ndarray], metadata: dict | None = None) -> bytes:
    """A file of these tensors. metadata: JSON values that it carries with it."""
    from safetensors.numpy import save

    # Readers of other programs ask for "format": whose conventions the file follows.
    texts = {"format": "pt", **{key: to_json(value) for key, value in (metadata or {}).items()}}
    return save({name: np.array(value, order="C") for name, value in state.items()}, texts)
