"""State dicts on disk, names to NumPy arrays: PyTorch's files, safetensors, NumPy's .npz.

What a file is, its first bytes say: people name PyTorch's files .pt, .pth, .pth.tar, .bin and .ckpt.
"""

import ast
import io
import re
import struct
import zipfile
from pathlib import Path

import numpy as np

from neonext_ms.checkpoint import bounds
from neonext_ms.checkpoint.fields import shown
from neonext_ms.checkpoint.safetensors_file import parse_safetensors, safetensors_bytes
from neonext_ms.deploy.convert.torch_file import read_torch, torch_bytes
from neonext_ms.errors import UserError

FORMATS = (".pt", ".pth", ".safetensors", ".npz")  # that are written
# Where training programs put the weights, and the moving average of them, into a file that holds more.
WEIGHTS = ("state_dict", "model", "module", "model_state_dict")
AVERAGED = ("state_dict_ema", "model_ema", "ema", "ema_state_dict")
# Of data-parallel and averaged models, compiled ones, and models inside another, in whatever order.
PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "_backbone.")
AVERAGES = "n_averaged"  # how many models PyTorch's AveragedModel has averaged
MOST_HEADER = 10_000  # bytes of an array's header in an .npz; NumPy's own limit


def read_state_dict(path: Path, ema: bool = False) -> dict[str, np.ndarray]:
    """The weights in a file, without the prefixes of parallel, compiled and averaged models. Runs nothing from it.

    Args:
        path: of a PyTorch file (a state dict, or a dict that holds one), a safetensors file or an .npz.
        ema: take the exponential moving average that the file holds beside the weights.

    Raises:
        UserError: another kind of file, a damaged one, or no such weights in it.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    kind = file_kind(path)
    if kind == "torch":
        state = _weights_in(read_torch(path), ema, path)
    elif ema:
        raise UserError(f"{path} holds one set of weights: leave ema out")
    else:
        state = parse_safetensors(path.read_bytes(), path) if kind == "safetensors" else _read_npz(path)
    bounds.check_total((value.nbytes for value in state.values()), path)
    return _without_prefixes(state)


def file_kind(path: Path) -> str:
    """What the first bytes of a file make it: npz, safetensors or torch.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(9)
        if start.startswith(b"PK"):
            with zipfile.ZipFile(path) as archive:
                return "npz" if all(name.endswith(".npy") for name in archive.namelist()) else "torch"
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})") from None
    except (zipfile.BadZipFile, *bounds.DAMAGED):
        pass  # whoever reads it says what is wrong with it
    names = {".npz": "npz", ".safetensors": "safetensors"}
    return "safetensors" if start[8:] == b"{" else names.get(path.suffix.lower(), "torch")


def state_dict_bytes(state: dict[str, np.ndarray], suffix: str, metadata: dict | None = None) -> bytes:
    """A file of the format with this suffix. metadata: JSON values that a .safetensors file carries with it."""
    if suffix == ".safetensors":
        return safetensors_bytes(state, metadata)
    if suffix == ".npz":
        out = io.BytesIO()
        np.savez(out, **state)
        return out.getvalue()
    return torch_bytes(state)


def _without_prefixes(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    state = {name: value for name, value in state.items() if name != AVERAGES}
    while prefix := next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in state)), None):
        if not state:
            break
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _weights_in(content, ema: bool, path: Path) -> dict[str, np.ndarray]:
    if not ema and _is_state_dict(content):
        return content
    keys = AVERAGED if ema else WEIGHTS
    found = [key for key in keys if isinstance(content, dict) and _is_state_dict(content.get(key))]
    if found:
        return content[found[0]]
    what = (
        f"a dict of {', '.join(map(str, list(content)[:5]))}" if isinstance(content, dict) else type(content).__name__
    )
    advice = "give the file of the average itself, without ema" if ema else "give a state dict"
    raise UserError(f"{path} has no weights under any of {', '.join(keys)}, it holds {what}: {advice}")


def _is_state_dict(value) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(item, np.ndarray) for item in value.values())


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            bounds.check_entries(archive, path)
            return {name.removesuffix(".npy"): _npy(archive.read(name)) for name in archive.namelist()}
    except UserError:
        raise
    except (zipfile.BadZipFile, OSError, *bounds.DAMAGED) as error:
        raise UserError(
            f"{path} is not an .npz file of plain arrays, or a damaged one ({bounds.reason(error)})"
        ) from None


def _npy(data: bytes) -> np.ndarray:
    """The array in an .npy file. NumPy's own reader makes room for what the header says before it looks further."""
    if not data.startswith(b"\x93NUMPY") or data[6] not in (1, 2, 3):
        raise ValueError("an entry that is no .npy file")
    size = struct.Struct("<H" if data[6] == 1 else "<I")
    start = 8 + size.size
    end = start + min(size.unpack_from(data, 8)[0], MOST_HEADER)
    header = ast.literal_eval(data[start:end].decode("latin-1").strip())
    if not isinstance(header["descr"], str) or not re.fullmatch(r"[<|=][biuf]\d\d?", header["descr"]):
        raise ValueError(f"an array of {shown(header['descr'])}")
    order = "F" if header["fortran_order"] is True else "C"
    return bounds.array(memoryview(data)[end:], np.dtype(header["descr"]), header["shape"], order)
