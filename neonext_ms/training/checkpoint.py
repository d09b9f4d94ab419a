"""Weights on disk: MindSpore's format beside a manifest that says what they are and proves that they are whole.

`x.ckpt` holds the parameters, `x.ckpt.json` the manifest: model, preprocessing, classes, and the file's size and
SHA-256. The manifest is written last, so a checkpoint with a manifest is complete; one without is not a checkpoint.
"""

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from neonext_ms import __version__
from neonext_ms.errors import UserError
from neonext_ms.files import publish, write_atomically

FORMAT = 1


def manifest_path(path: Path) -> Path:
    """Where the manifest of a checkpoint (or the card of an export) stands."""
    return path.with_name(path.name + ".json")


def versions() -> dict:
    """What wrote a file: version of this package, MindSpore, NumPy, Python."""
    import mindspore

    return {
        "neonext_ms": __version__,
        "mindspore": mindspore.__version__,
        "numpy": np.__version__,
        "python": sys.version.split()[0],
    }


def save_weights(path: Path, network, meta: dict) -> dict:
    """Write a network's parameters and BatchNorm statistics, then the manifest.

    Args:
        path: ends in .ckpt; its folder exists.
        network: an nn.Cell.
        meta: goes into the manifest: model {name, num_classes, overrides}, preprocess, class_names, dataset, epoch,
            step, metrics.

    Returns:
        the manifest.
    """
    import mindspore as ms

    path = Path(path)
    parameters = list(network.get_parameters())
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".ckpt", dir=path.parent)
    os.close(handle)
    temporary = Path(temporary)
    try:
        entries = [{"name": p.name, "data": ms.Tensor(p.asnumpy())} for p in parameters]
        ms.save_checkpoint(entries, str(temporary))
        # save_checkpoint neither fsyncs nor keeps the file writable.
        os.chmod(temporary, 0o600)
        with open(temporary, "rb+") as file:
            data = file.read()
            os.fsync(file.fileno())
        manifest = {
            "format": FORMAT,
            "file": {"name": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()},
            **meta,
            "parameters": {p.name: {"shape": list(p.shape), "dtype": str(p.asnumpy().dtype)} for p in parameters},
            "versions": versions(),
        }
        # An older checkpoint of this name loses its manifest first: new weights never stand beside an old manifest.
        manifest_path(path).unlink(missing_ok=True)
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    write_atomically(manifest_path(path), json.dumps(manifest, indent=1))
    return manifest


def read_manifest(path: Path) -> dict:
    """The manifest of a checkpoint.

    Raises:
        UserError: no such file, no manifest beside it, or one that cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"there is no checkpoint {path}: give the path of a .ckpt file, as in a run's checkpoints folder"
        )
    try:
        manifest = json.loads(manifest_path(path).read_text())
    except FileNotFoundError:
        raise UserError(
            f"{path} has no manifest {manifest_path(path).name} beside it: it was not written by neonext train, or its "
            "writing was interrupted; use another checkpoint"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"the manifest {manifest_path(path)} cannot be read ({error}): use another checkpoint"
        ) from None
    needed = {"format", "file", "model", "parameters", "preprocess", "class_names"}
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or not needed <= set(manifest):
        raise UserError(
            f"{manifest_path(path)} is not a checkpoint manifest of format {FORMAT}: use another checkpoint"
        )
    return manifest


def load_weights(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """The parameters of a checkpoint by name, and its manifest, after checking that the file is what was written.

    Raises:
        UserError: missing, truncated or changed file, or parameters that differ from the manifest.
    """
    import mindspore as ms

    path = Path(path)
    manifest = read_manifest(path)
    data = path.read_bytes()
    expected = manifest["file"]
    if len(data) != expected["bytes"]:
        raise UserError(
            f"{path} has {len(data)} bytes, but {expected['bytes']} were written: it is cut short or changed"
        )
    if hashlib.sha256(data).hexdigest() != expected["sha256"]:
        raise UserError(
            f"{path} is not what was written (its SHA-256 differs from the manifest's): use another checkpoint"
        )
    try:
        parameters = {name: p.asnumpy() for name, p in ms.load_checkpoint(str(path)).items()}
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"MindSpore cannot read {path} ({str(error).splitlines()[0]}): use another checkpoint"
        ) from None
    found = {name: {"shape": list(value.shape), "dtype": str(value.dtype)} for name, value in parameters.items()}
    if found != manifest["parameters"]:
        raise UserError(f"the parameters in {path} are not those of its manifest: use another checkpoint")
    return parameters, manifest


def assign_weights(network, parameters: dict[str, np.ndarray], source: str):
    """Set every parameter of a network, strictly: same names, shapes and types.

    Raises:
        UserError: names the first difference, and how many there are.
    """
    import mindspore as ms

    own = {p.name: p for p in network.get_parameters()}
    differences = [f"{name} is missing" for name in own if name not in parameters]
    differences += [f"{name} is not part of the network" for name in parameters if name not in own]
    for name in (name for name in own if name in parameters):
        value, target = parameters[name], own[name].asnumpy()
        if value.shape != target.shape or value.dtype != target.dtype:
            differences.append(f"{name} is {value.shape} {value.dtype}, expected {target.shape} {target.dtype}")
    if differences:
        raise UserError(
            f"{source} does not fit the network, {len(differences)} differences, the first: {differences[0]}"
        )
    for name, parameter in own.items():
        parameter.set_data(ms.Tensor(parameters[name]))


def load_network(path: Path, **overrides):
    """(network, manifest): the model that a checkpoint was saved from, with its weights, in evaluation mode.

    Args:
        path: of the checkpoint.
        overrides: arguments of `create_model` that do not change the weights, such as backend.
    """
    from neonext_ms.models import create_model

    parameters, manifest = load_weights(path)
    model = manifest["model"]
    network = create_model(model["name"], model["num_classes"], seed=0, **{**model["overrides"], **overrides})
    assign_weights(network, parameters, str(path))
    return network.set_train(False), manifest
