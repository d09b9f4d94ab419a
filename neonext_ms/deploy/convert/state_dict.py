"""State dicts on disk, names to NumPy arrays: PyTorch's .pt and .pth, safetensors, NumPy's .npz."""

import io
import json
from pathlib import Path

import numpy as np

from neonext_ms.deploy.convert.torch_file import bfloat16_to_float32, read_torch, torch_bytes
from neonext_ms.errors import UserError

FORMATS = (".pt", ".pth", ".safetensors", ".npz")
# Where training programs put the weights, and the moving average of them, into a file that holds more.
WEIGHTS = ("state_dict", "model", "module")
AVERAGED = ("state_dict_ema", "model_ema", "ema")
SAFETENSORS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}
SAFETENSORS |= {"I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}


def read_state_dict(path: Path, ema: bool = False) -> dict[str, np.ndarray]:
    """The weights in a file, without the prefix "module." of data-parallel training. Runs nothing from the file.

    Args:
        path: .pt or .pth (a state dict, or a dict that holds one), .safetensors or .npz.
        ema: take the exponential moving average that the file holds beside the weights.

    Raises:
        UserError: another kind of file, a damaged one, or no such weights in it.
    """
    if path.suffix not in FORMATS:
        raise UserError(f"cannot read weights from {path}: expected one of {' '.join(FORMATS)}")
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    if path.suffix in (".pt", ".pth"):
        state = _weights_in(read_torch(path), ema, path)
    elif ema:
        raise UserError(f"{path} holds one set of weights: leave ema out")
    else:
        state = (_read_safetensors if path.suffix == ".safetensors" else _read_npz)(path)
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state


def read_metadata(path: Path) -> dict:
    """The JSON values that `state_dict_bytes` put beside the weights into a safetensors file; other files have none."""
    if path.suffix != ".safetensors":
        return {}
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        texts = file.metadata() or {}
    try:
        return {key: json.loads(text) for key, text in texts.items() if key != "format"}
    except ValueError:
        return {}  # of another program


def state_dict_bytes(state: dict[str, np.ndarray], suffix: str, metadata: dict | None = None) -> bytes:
    """A file of the format with this suffix. metadata: JSON values that a .safetensors file carries with it."""
    if suffix == ".safetensors":
        from safetensors.numpy import save

        # Readers of other programs ask for "format": whose conventions the file follows.
        texts = {"format": "pt", **{key: json.dumps(value) for key, value in (metadata or {}).items()}}
        return save({name: np.array(value, order="C") for name, value in state.items()}, texts)
    if suffix == ".npz":
        out = io.BytesIO()
        np.savez(out, **state)
        return out.getvalue()
    return torch_bytes(state)


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


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    import safetensors

    try:
        entries = safetensors.deserialize(path.read_bytes())
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a safetensors file, or a damaged one ({error})") from None
    state = {}
    for name, entry in entries:
        if entry["dtype"] not in SAFETENSORS:
            raise UserError(f"{path}: {name} is of type {entry['dtype']}, expected one of {' '.join(SAFETENSORS)}")
        array = np.frombuffer(entry["data"], SAFETENSORS[entry["dtype"]]).reshape(entry["shape"])
        state[name] = bfloat16_to_float32(array) if entry["dtype"] == "BF16" else array
    return state


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except Exception as error:  # zipfile, zlib and NumPy each have types of their own
        raise UserError(f"{path} is not an .npz file of plain arrays, or a damaged one ({error})") from None
