"""MindSpore's checkpoint format, written and read without MindSpore.

A file is a protobuf message, `Checkpoint` of mindspore/train/checkpoint.proto (2.x):

    message Checkpoint { repeated Value value = 1; }
    message Value { required string tag = 1; TensorProto tensor = 2; }
    message TensorProto { repeated int64 dims = 1; required string tensor_type = 2; required bytes tensor_content = 3; }

`mindspore.save_checkpoint` is not used: it deletes the old file before it writes the new one, does not fsync, and
reports a full disk on the terminal; `mindspore.load_checkpoint` reads what is written here.
"""

import math
from collections.abc import Iterator

import numpy as np

from neonext_ms.checkpoint.fields import readable

TYPES = {
    **{np.dtype(f"{kind}{8 * size}"): f"{kind.title()}{8 * size}" for kind in ("int", "float") for size in (2, 4, 8)},
    **{np.dtype(f"uint{8 * size}"): f"UInt{8 * size}" for size in (1, 2, 4, 8)},
    np.dtype("int8"): "Int8",
    np.dtype("bool"): "Bool",
}
_DTYPES = {name: dtype for dtype, name in TYPES.items()}
_PIECE = 1 << 20  # bytes, whose SHA-256 and writing take about a millisecond
_LENGTH = 2  # wire type of strings, bytes and messages: a length and so many bytes
_VARINT = 0
MOST_DIMS = 32  # of a NumPy array
NO_CHECKPOINT = "it is not a MindSpore checkpoint"


def encode(name: str, value: np.ndarray) -> Iterator[bytes | memoryview]:
    """One parameter, in pieces of at most 1 MiB that follow one another; a file is any number of parameters."""
    value = np.asarray(value, order="C")
    shape = b"".join(_varint(1 << 3 | _VARINT) + _varint(size) for size in value.shape)
    before = shape + _field(2, TYPES[value.dtype].encode()) + _head(3, value.nbytes)
    tag = _field(1, name.encode())
    middle = tag + _head(2, len(before) + value.nbytes) + before
    yield _head(1, len(middle) + value.nbytes) + middle
    content = value.reshape(-1).view(np.uint8).data
    for first in range(0, value.nbytes, _PIECE):
        yield content[first : first + _PIECE]


def decode(data: bytes) -> dict[str, np.ndarray]:
    """The parameters in a file's bytes, by name; the arrays cannot be written to.

    Raises:
        ValueError: these bytes are no checkpoint.
    """
    parameters = {}
    for _, value in _fields(memoryview(data)):
        try:
            fields = dict(_fields(_content(value)))
            name, tensor = str(_content(fields[1]), "utf-8"), list(_fields(_content(fields[2])))
            rest = dict(tensor)
            dtype, content = _DTYPES[str(_content(rest[2]), "ascii")], _content(rest[3])
        except KeyError:
            raise ValueError(NO_CHECKPOINT) from None
        shape = tuple(size for number, size in tensor if number == 1)
        # Before the product: those of a file can be of any number and size.
        sound = len(shape) <= MOST_DIMS and all(isinstance(size, int) and size <= len(data) for size in shape)
        if not sound or len(content) != math.prod(shape) * dtype.itemsize or name in parameters:
            raise ValueError(f"parameter {readable(name)} is cut short or comes twice")
        parameters[name] = np.frombuffer(content, dtype).reshape(shape)
    return parameters


def _content(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError(NO_CHECKPOINT)
    return value


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit says that more follow."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _head(number: int, length: int) -> bytes:
    """What stands before the content of a field."""
    return _varint(number << 3 | _LENGTH) + _varint(length)


def _field(number: int, content: bytes) -> bytes:
    return _head(number, len(content)) + content


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(view) or shift > 63:
            raise ValueError("it ends in the middle of a number")
        value |= (view[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if view[at - 1] < 128:
            return value, at


def _fields(view: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a message."""
    at = 0
    while at < len(view):
        key, at = _read_varint(view, at)
        value, at = _read_varint(view, at)
        if key & 7 == _LENGTH:
            if at + value > len(view):
                raise ValueError("it is cut short")
            yield key >> 3, view[at : at + value]
            at += value
        elif key & 7 == _VARINT:
            yield key >> 3, value
        else:
            raise ValueError(NO_CHECKPOINT)
