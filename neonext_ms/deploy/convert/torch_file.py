"""PyTorch's .pt and .pth files without PyTorch: tensors in plain containers, read without running anything from them.

Such a file is a zip: <name>/data.pkl describes objects as a pickle, <name>/data/<key> holds the bytes of one tensor's
storage. A pickle may call any function that it names; how this one is read without that, see `torch_pickle`.
"""

import io
import math
import struct
import zipfile
from pathlib import Path

import numpy as np

from neonext_ms.checkpoint.bounds import DAMAGED, MOST_DIMS, check_entries, check_total, reason
from neonext_ms.checkpoint.fields import shown
from neonext_ms.checkpoint.safetensors_file import bfloat16_to_float32
from neonext_ms.deploy.convert.torch_pickle import STORAGES, Storage, Unpickler
from neonext_ms.errors import UserError

MOST = 1 << 40  # elements in one direction

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
        raise UserError(
            f"{path} is not a PyTorch file, or a damaged one ({reason(error)}): {_what_it_is(path)}"
        ) from None
    except DAMAGED as error:
        raise UserError(f"{path} is a damaged PyTorch file ({type(error).__name__}: {reason(error)})") from None


def _read(archive: zipfile.ZipFile, path: Path):
    descriptions = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(descriptions) != 1:
        raise UserError(f"{path} is a zip file, but not one of PyTorch's: it has no <name>/data.pkl")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise UserError(f"{path} has compressed entries, which PyTorch does not write: save it again with torch.save")
    check_entries(archive, path)
    prefix = descriptions[0].removesuffix("data.pkl")
    if f"{prefix}byteorder" in archive.namelist() and archive.read(f"{prefix}byteorder") != b"little":
        raise UserError(f"{path} was written on a big-endian machine: save it on a little-endian one")
    tensors = _Tensors(archive, prefix, path)
    return Unpickler(tensors, str(path)).load(archive.read(descriptions[0]))


class _Tensors:
    """Arrays of the tensors in a file, as its pickle asks for them; all together of bounded size."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str, path: Path):
        self.archive, self.prefix, self.path = archive, prefix, path
        self.bytes = 0
        self.storages = {}

    def __call__(self, storage: Storage, offset: int, shape: tuple, strides: tuple) -> np.ndarray:
        if not isinstance(storage, Storage):
            raise TypeError("a tensor without a storage")
        values = self._values(storage)
        _check_view(len(values), storage.count, offset, shape, strides)
        self.bytes += math.prod(shape) * max(values.itemsize, 4)
        check_total([self.bytes], self.path)
        steps = [stride * values.itemsize for stride in strides]
        view = np.lib.stride_tricks.as_strided(values[offset:], shape, steps, writeable=False).copy()
        return bfloat16_to_float32(view) if storage.dtype == "bfloat16" else view

    def _values(self, storage: Storage) -> np.ndarray:
        key = storage.key, storage.dtype
        if key not in self.storages:
            data = self.archive.read(f"{self.prefix}data/{storage.key}")
            self.storages[key] = np.frombuffer(data, "<u2" if storage.dtype == "bfloat16" else storage.dtype)
        return self.storages[key]


def _check_view(length: int, count: int, offset: int, shape: tuple, strides: tuple):
    """Raise ValueError unless all of a tensor lies in its storage of this length, and NumPy can hold it."""
    sound = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides) <= MOST_DIMS
    sound = sound and all(isinstance(number, int) and 0 <= number <= MOST for number in (offset, *shape, *strides))
    if sound:
        values = math.prod(shape)
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides)) if values else 0
        sound = values <= length == count and last < max(length, 1)
    if not sound:
        raise ValueError(
            f"a tensor of shape {shown(shape)}, strides {shown(strides)} at {shown(offset)} does not fit the {length} "
            "elements that are there"
        )


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
