"""PyTorch's .pt and .pth files without PyTorch: tensors in plain containers, read without running anything from them.

Such a file is a zip: <name>/data.pkl describes objects as a pickle, <name>/data/<key> holds the bytes of one tensor's
storage. A pickle may call any function that it names. Here it gets the five names that tensors need, none of which
does anything but hold what it is given; a file that names another is refused.
"""

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neonext_ms.errors import UserError

# Bit patterns of bfloat16 are read as uint16: NumPy has no such type.
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
STORAGE_OF = {dtype: storage for storage, dtype in STORAGES.items()}


def read_torch(path: Path):
    """What torch.save wrote to a file: dicts, lists, numbers and strings, with tensors as NumPy arrays.

    bfloat16 becomes float32, which holds every value of it.

    Raises:
        UserError: not such a file, a damaged one, or one that holds anything but that.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, path)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error})") from None
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} is not a PyTorch file, or a damaged one ({error}): {_what_it_is(path)}") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(f"{path} is a damaged PyTorch file ({type(error).__name__}: {error})") from None


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """uint16 patterns to the float32 of the same value."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


class _Storage(NamedTuple):
    dtype: str
    key: str
    count: int


class _Tensor(NamedTuple):
    """An array that is not read yet; offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple
    strides: tuple


class _RebuildTensor:
    __slots__ = ()  # nothing in a pickle can change it

    def __call__(self, storage, offset, shape, strides, requires_grad=False, hooks=None, metadata=None):
        return _Tensor(storage, offset, shape, strides)


class _RebuildParameter:
    __slots__ = ()

    def __call__(self, tensor, requires_grad=True, hooks=None):
        return tensor


ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    **{("torch", storage): dtype for storage, dtype in STORAGES.items()},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, path: Path):
        super().__init__(io.BytesIO(data))
        self.path = path

    def find_class(self, module, name):
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise UserError(
                f"{self.path} holds more than weights: to read it, {module}.{name} would have to be called, which a "
                "file may not ask for; save the weights alone, torch.save(model.state_dict(), path)"
            ) from None

    def persistent_load(self, identity):
        kind, dtype, key, _, count = identity
        if kind != "storage" or dtype not in STORAGE_OF:
            raise ValueError(f"a {kind} of {dtype} is not a tensor's storage")
        return _Storage(dtype, str(key), int(count))


def _read(archive: zipfile.ZipFile, path: Path):
    descriptions = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(descriptions) != 1:
        raise UserError(f"{path} is a zip file, but not one of PyTorch's: it has no <name>/data.pkl")
    # PyTorch never compresses, so an entry is never larger than the file.
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise UserError(f"{path} has compressed entries, which PyTorch does not write: save it again with torch.save")
    prefix = descriptions[0].removesuffix("data.pkl")
    if f"{prefix}byteorder" in archive.namelist() and archive.read(f"{prefix}byteorder") != b"little":
        raise UserError(f"{path} was written on a big-endian machine: save it on a little-endian one")
    content = _Unpickler(archive.read(descriptions[0]), path).load()
    storages = {}

    def arrays(value):
        if isinstance(value, _Tensor):
            storage = value.storage
            if storage.key not in storages:
                data = archive.read(f"{prefix}data/{storage.key}")
                storages[storage.key] = np.frombuffer(data, "<u2" if storage.dtype == "bfloat16" else storage.dtype)
            array = _view(value, storages[storage.key])
            return bfloat16_to_float32(array) if storage.dtype == "bfloat16" else array
        if isinstance(value, dict):
            return {key: arrays(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [arrays(item) for item in value]
        return value

    return arrays(content)


def _view(tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
    """A contiguous copy of a tensor, after checking that all of it lies in its storage."""
    shape, strides = tensor.shape, tensor.strides
    sound = len(shape) == len(strides) and min((tensor.offset, *shape, *strides)) >= 0
    count = math.prod(shape) if sound else 0
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(shape, strides)) if count else 0
    if not sound or count > len(storage) or last >= max(len(storage), 1) or len(storage) != tensor.storage.count:
        raise ValueError(
            f"a tensor of shape {shape}, strides {strides} at {tensor.offset} does not fit the {len(storage)} elements "
            "that are there"
        )
    view = np.lib.stride_tricks.as_strided(
        storage[tensor.offset :], shape, [stride * storage.itemsize for stride in strides], writeable=False
    )
    return view.copy()


def _what_it_is(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, which `git lfs pull` in its repository replaces by the weights"
    if start.startswith(b"\x80"):
        return "it is a bare pickle, as PyTorch wrote before 1.6; load it there and save it again"
    return "give a file written by torch.save"


def torch_bytes(state: dict[str, np.ndarray]) -> bytes:
    """The .pt file of a state dict, which torch.load(..., weights_only=True) reads as an OrderedDict of tensors."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:

        def add(name, data):
            # A fixed date: the same weights give the same file.
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)

        add("data.pkl", _state_pickle(state))
        add("byteorder", b"little")
        for i, array in enumerate(state.values()):
            add(f"data/{i}", array.tobytes())
        add("version", b"3\n")
    return out.getvalue()


def _state_pickle(state: dict[str, np.ndarray]) -> bytes:
    """OrderedDict of tensors in the pickle machine's own words: the pickle module names only what it can import."""
    ordered_dict = b"ccollections\nOrderedDict\n" + b")R"
    out = [b"\x80\x02", ordered_dict, b"("]
    for i, (name, array) in enumerate(state.items()):
        strides = [stride // array.itemsize for stride in np.ascontiguousarray(array).strides] if array.ndim else []
        storage = [_text("storage"), b"ctorch\n" + STORAGE_OF[str(array.dtype)].encode() + b"\n"]
        storage += [_text(str(i)), _text("cpu"), _number(array.size)]
        out += [_text(name), b"ctorch._utils\n_rebuild_tensor_v2\n", b"(", b"(", *storage, b"t", b"Q", _number(0)]
        out += [b"(", *map(_number, array.shape), b"t", b"(", *map(_number, strides), b"t"]
        out += [b"\x89", ordered_dict, b"t", b"R"]  # requires no gradient, has no hooks
    return b"".join([*out, b"u", b"."])


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)
