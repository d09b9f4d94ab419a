"""Checkpoints on disk: whole and as written, or refused with a reason.

    x.ckpt             weights and BatchNorm statistics, in MindSpore's format
    x.state.ckpt       what training needs besides: optimiser, EMA, loss scale; only in a run's numbered checkpoints
    x.ckpt.json        the manifest: size and SHA-256 of both files, names, shapes and types of what is in them, model,
                       preprocessing, classes, position of the run, configuration, versions; and a checksum of itself
    x.ckpt.json.next   the manifest of a replacement that is under way

**Why a crash loses nothing.** Every file is written under a hidden name and fsynced before it is renamed, so that a
name stands for whole content or for none. A checkpoint is written in this order: data (hidden), manifest as
x.ckpt.json.next, rename x.ckpt, rename x.state.ckpt, rename the manifest to x.ckpt.json. Readers take whichever of the
two manifests fits the data:
 - until x.ckpt is renamed, the old data stand beside the old manifest;
 - then the new data fit x.ckpt.json.next, and after the last rename x.ckpt.json.
So a name with weights alone, such as x_best.ckpt, can be replaced at any moment and always holds the old or the new
ones. With two data files there is a moment between their renames when they fit no manifest. Their names hold the step,
so that only the same step replaces them, with the same content; and the checkpoints before it stay until this one is
complete. The next writer of a name finishes or drops what an interrupted one left.
Whoever reads compares the SHA-256 of every byte; nothing is unpickled.
"""

import hashlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neonext_ms import __version__
from neonext_ms.checkpoint.card import ModelCard
from neonext_ms.checkpoint.fields import readable
from neonext_ms.checkpoint.format import decode, encode
from neonext_ms.checkpoint.manifest import (
    ADVICE,
    WrittenFile,
    manifest_path,
    parse_manifest,
    write_manifest,
    written_files,
)
from neonext_ms.errors import UserError
from neonext_ms.files import read_regular, remove_left, rename, write_hidden

EXPORTED = (".mindir", ".onnx")
_NUMBERED = re.compile(r"(?P<name>.+-\d+_(?P<step>\d+))(\.state)?\.ckpt(\.json(\.next)?)?")


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: parameters by name, the model's card, and the manifest, which holds the card and what a
    run says of itself. state is None where only weights were asked for.
    """

    path: Path
    weights: dict[str, np.ndarray]
    state: dict[str, np.ndarray] | None
    card: ModelCard
    manifest: dict


def state_path(path: Path) -> Path:
    """Where the training state of a checkpoint stands."""
    return path.with_suffix(".state.ckpt")


def versions() -> dict:
    """What wrote a file: version of this package, MindSpore, NumPy, Python."""
    import mindspore

    return {
        "neonext_ms": __version__,
        "mindspore": mindspore.__version__,
        "numpy": np.__version__,
        "python": sys.version.split()[0],
    }


def save_weights(path: Path, network, card: dict) -> dict:
    """Write a network's parameters and BatchNorm statistics with a manifest.

    Args:
        path: ends in .ckpt; its folder exists.
        network: an nn.Cell.
        card: goes into the manifest: what `ModelCard.to_dict` gives, and beside it epoch, step, metrics.

    Returns:
        the manifest.
    """
    return save_checkpoint(path, {p.name: p.asnumpy() for p in network.get_parameters()}, card)


def nothing():
    """Between the pieces of a file that is written as fast as it can be."""


def save_checkpoint(
    path: Path,
    weights: dict[str, np.ndarray],
    card: dict,
    state: dict[str, np.ndarray] | None = None,
    pause: Callable[[], None] = nothing,
) -> dict:
    """Write a checkpoint, in the place of an older one of this name.

    Args:
        path: ends in .ckpt; its folder exists.
        weights, state: parameters by name.
        card: see `save_weights`.
        pause: called after every piece of a file, of at most 1 MiB.

    Returns:
        the manifest.

    Raises:
        OSError: it could not be written; an older checkpoint of this name is as it was.
        UserError: card is not what it should be; likewise.
    """
    path = Path(path)
    ModelCard.from_dict(card, str(path))  # what no reader would take is not written
    _settle(path)
    kinds = {"file": (path, weights)}
    if state is not None:
        kinds["state"] = (state_path(path), state)
    hidden, written = {}, {}
    pending = _pending(path)
    try:
        for kind, (file, parameters) in kinds.items():
            hidden[file], written[kind] = _write_parameters(file, parameters, pause)
        manifest = {**card, **written, "parameters": written["file"].pop("parameters"), "versions": versions()}
        write_manifest(pending, manifest)
        for file in list(hidden):
            rename(hidden.pop(file), file)
        rename(pending, manifest_path(path))
    finally:
        for temporary in hidden.values():
            temporary.unlink(missing_ok=True)
    return manifest


def load_checkpoint(path: Path, with_state: bool = True) -> Checkpoint:
    """Read a checkpoint, after checking that every byte is what was written.

    Args:
        path: of the .ckpt file.
        with_state: read the training state too.

    Raises:
        UserError: missing, unfinished, truncated or changed; it names the file and the reason.
    """
    path = Path(path)
    if path.suffix in EXPORTED:
        raise UserError(
            f"{path} is an exported file, which has no weights to load: give the checkpoint it was made from"
        )
    if not path.is_file():
        raise UserError(
            f"there is no checkpoint {path}: give the path of a .ckpt file, as in a run's checkpoints folder"
        )
    first = None
    for name in (manifest_path(path), _pending(path)):
        try:
            checkpoint = _verified(path, name, with_state)
            check_finite(checkpoint.weights, str(path))
            return checkpoint
        except FileNotFoundError:
            continue
        except UserError as error:
            first = first or error
    raise first or UserError(
        f"{path} has no manifest {manifest_path(path).name} beside it: it was not written by neonext train, or its "
        f"writing was interrupted; {ADVICE}, or, for weights alone, as mindspore.save_checkpoint writes them, make one "
        "with neonext convert"
    )


def delete_checkpoint(path: Path):
    """Remove a checkpoint and all that belongs to it: the manifest first, so that what is left is none."""
    for file in (manifest_path(path), _pending(path), path, state_path(path)):
        file.unlink(missing_ok=True)


def numbered(folder: Path) -> list[Path]:
    """Names of a run's checkpoints, <model>-<epoch>_<step>.ckpt, by step; of each one at least one file is there."""
    found = (match for path in folder.glob("*") if (match := _NUMBERED.fullmatch(path.name)))
    return sorted({folder / f"{match['name']}.ckpt" for match in found}, key=step_of)


def step_of(path: Path) -> int:
    """The step in the name of a numbered checkpoint."""
    return int(_NUMBERED.fullmatch(path.name)["step"])


def tidy(path: Path) -> bool:
    """Finish or remove what an interrupted writer left under this name; whether a finished checkpoint stands there."""
    _settle(path)
    finished = manifest_path(path).exists()
    if not finished:
        delete_checkpoint(path)
    return finished


def _pending(path: Path) -> Path:
    return path.with_name(path.name + ".json.next")


def _settle(path: Path):
    """Finish or drop what an interrupted writer left under this name."""
    pending = _pending(path)
    if not pending.exists():
        return
    try:
        _verified(path, pending, with_state=True)
    except (UserError, OSError):
        pending.unlink(missing_ok=True)
    else:
        rename(pending, manifest_path(path))


def _write_parameters(file: Path, parameters: dict[str, np.ndarray], pause: Callable[[], None]) -> tuple[Path, dict]:
    """(hidden name, what the manifest says of the file)."""
    digest = hashlib.sha256()
    size = 0

    def pieces():
        nonlocal size
        for name, value in parameters.items():
            for piece in encode(name, value):
                digest.update(piece)
                size += len(piece)
                yield piece
                pause()

    remove_left(file)
    hidden = write_hidden(file, pieces())
    return hidden, {
        "name": file.name,
        "bytes": size,
        "sha256": digest.hexdigest(),
        "parameters": _description(parameters),
    }


def _description(parameters: dict[str, np.ndarray]) -> dict:
    return {name: {"shape": list(value.shape), "dtype": str(value.dtype)} for name, value in parameters.items()}


def _verified(path: Path, name: Path, with_state: bool) -> Checkpoint:
    """The checkpoint, if its files are those of the manifest of this name."""
    manifest = parse_manifest(name)
    card = ModelCard.from_dict(manifest, str(path), str(name))
    files = written_files(manifest, str(name))
    weights = _read_parameters(path, files["file"])
    with_state = with_state and "state" in files
    state = _read_parameters(state_path(path), files["state"]) if with_state else None
    return Checkpoint(path, weights, state, card, manifest)


def check_finite(weights: dict[str, np.ndarray], source: str):
    """Raises UserError, which names the first tensor with NaN or infinity in it, and how many values that are."""
    for name, value in weights.items():
        if value.dtype.kind == "f" and (bad := value.size - int(np.isfinite(value).sum())):
            raise UserError(
                f"{source}: {readable(name)} has {bad} of {value.size} values that are not finite numbers: {ADVICE}"
            )


def _read_parameters(file: Path, written: WrittenFile) -> dict[str, np.ndarray]:
    try:
        if (size := file.stat().st_size) != written.bytes:
            raise UserError(f"{file} has {size} bytes, but {written.bytes} were written: it is cut short or changed")
        data = read_regular(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): {ADVICE}") from None
    if hashlib.sha256(data).hexdigest() != written.sha256:
        raise UserError(f"{file} is not what was written (its SHA-256 differs from the manifest's): {ADVICE}")
    try:
        parameters = decode(data)
    except ValueError as error:
        raise UserError(f"{file} cannot be read ({error}): {ADVICE}") from None
    if _description(parameters) != written.parameters:
        raise UserError(f"the parameters in {file} are not those of its manifest: {ADVICE}")
    return parameters
