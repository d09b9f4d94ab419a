"""Going on with a run: where it stands, and whether it is still the same run."""

import logging
from dataclasses import asdict, fields, replace
from pathlib import Path

from neonext_ms.checkpoint.manifest import manifest_path
from neonext_ms.checkpoint.network import load_trained
from neonext_ms.checkpoint.store import Checkpoint, load_checkpoint, numbered, step_of
from neonext_ms.errors import UserError
from neonext_ms.runtime.run_folder import holds_run
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.finetune import digest_of_weights
from neonext_ms.training.keys import free

log = logging.getLogger(__name__)


def find_resume(config: TrainConfig) -> tuple[Path | None, Checkpoint | None]:
    """What `resume` asks for.

    auto: the run in output_dir, or a new one there. A run folder: its newest checkpoint that verifies, or its beginning
    if it has none yet; named as output_dir too, it may also be empty. A checkpoint: that one; its own folder goes on if
    it is the newest there, else another output_dir takes the rest of the run.

    Returns:
        folder of the run that goes on, None for a new one; checkpoint to begin with, None for the beginning.

    Raises:
        UserError: there is no such run, or none of its checkpoints can be used.
    """
    if config.resume is None:
        return None, None
    if config.resume == "auto":
        if config.output_dir is None:
            raise UserError("resume=auto goes on with the run in output_dir: name it, or give the run as resume")
        run = Path(config.output_dir)
        if not holds_run(run):
            return None, None
    else:
        run = Path(config.resume)
    if run.is_dir():
        if config.output_dir is not None and Path(config.output_dir).resolve() != run.resolve():
            raise UserError(
                f"resume={run} goes on in that folder: leave out output_dir={config.output_dir}, or resume one of its "
                "checkpoints to go on elsewhere"
            )
        if not holds_run(run):
            if config.output_dir is None:
                raise UserError(f"{run} holds no training run: give the folder of a run, or one of its checkpoints")
            log.info("%s holds no training run yet: it starts there", run)
            return None, None
        checkpoint = newest(run / "checkpoints")
        if checkpoint is None:
            log.info("%s has no finished checkpoint yet: training starts from the beginning", run)
        return run, checkpoint
    if not run.exists():
        raise UserError(f"resume={run} does not exist: give auto, the folder of a run, or one of its checkpoints")
    return _from_checkpoint(config, load_checkpoint(run))


def own_configuration(resume: str | None, output_dir: str | None) -> Path | None:
    """The file with the configuration of the run that `resume` goes on with, if there is one."""
    place = output_dir if resume == "auto" else resume
    if place is None:
        return None
    place = Path(place).expanduser()
    path = (place if place.is_dir() else place.resolve().parent.parent) / "config.yaml"
    return path if path.is_file() else None


def _from_checkpoint(config: TrainConfig, checkpoint: Checkpoint) -> tuple[Path | None, Checkpoint]:
    if "training" not in checkpoint.manifest:
        raise UserError(
            f"{checkpoint.path} holds weights only, without the state of the training: resume a checkpoint that is "
            "named after its epoch and step"
        )
    run = checkpoint.path.resolve().parent.parent
    if config.output_dir is not None and Path(config.output_dir).resolve() != run:
        return None, checkpoint
    later = [path for path in numbered(checkpoint.path.parent) if step_of(path) > step_of(checkpoint.path)]
    if later:
        raise UserError(
            f"{run} has later checkpoints than {checkpoint.path.name}, such as {later[-1].name}, and nothing is "
            "overwritten: give an output_dir of its own to go on from there"
        )
    return run, checkpoint


def newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that verifies, with a line of the log for each newer one that does not.

    Raises:
        UserError: there are finished checkpoints, but none can be used.
    """
    finished = 0
    for path in reversed(numbered(folder)):
        try:
            return load_checkpoint(path)
        except UserError as error:
            finished += manifest_path(path).exists()
            log.warning("passed over: %s", error)
    if finished:
        raise UserError(f"none of the {finished} checkpoints in {folder} can be used, for the reasons above")
    return None


def same_run(config: TrainConfig, world: int, checkpoint: Checkpoint, data: dict) -> TrainConfig:
    """The configuration to go on with: its batch is fitted to another number of ranks.

    Args:
        config: as given.
        world: number of ranks now.
        checkpoint: to go on from.
        data: what the data sets are now, as `inputs.describe_data` gives it.

    Raises:
        UserError: this is another run; it names every difference.
    """
    manifest = checkpoint.manifest
    old = manifest["training"]["config"]
    now = json_like(asdict(config))
    known = {field.name: json_like(field.default) for field in fields(config)}
    known["matmul_precision"] = "highest"  # of runs from before there was this key, whatever the environment says now
    same = free(config, "on_resume")
    if _same_file(old.get("pretrained"), config.pretrained, manifest["training"].get("pretrained")):
        same |= {"pretrained"}
    differences = [
        f"{key} was {old.get(key, known[key])} and is {value}"
        for key, value in now.items()
        if key not in same and old.get(key, known[key]) != value
    ]
    for split, before in manifest["training"]["data"].items():
        counts = [
            f"the {split} data had {before[what]} {what} and have {data[split][what]}"
            for what in ("samples", "classes")
            if before[what] != data[split][what]
        ]
        if before["listing"] != data[split]["listing"] and not counts:
            counts = [f"the samples of the {split} data are others, or in another order"]
        differences += counts
    if differences:
        how = "use the same ones, or start a new run"
        if any(difference.startswith("epochs was") for difference in differences):
            how += f", such as one of more epochs that begins with these weights (pretrained={checkpoint.path})"
        raise UserError(f"{checkpoint.path} is of another run: {'; '.join(differences)}; {how}")
    return _same_global_batch(config, world, manifest["training"]["global_batch"])


def _same_file(old: str | None, new: str | None, digest: str | None) -> bool:
    """Whether two names are of one checkpoint; `digest` is the SHA-256 of the old one's weights, if it is known."""
    if None in (old, new):
        return old == new
    if Path(old).resolve() == Path(new).resolve():
        return True
    try:
        return digest is not None and digest_of_weights(load_trained(new)) == digest
    except UserError:
        return False


def _same_global_batch(config: TrainConfig, world: int, images: int) -> TrainConfig:
    """The configuration with which all ranks together take `images` an update.

    The batch of a device stays as given, or becomes the largest below that fits; gradients of the rest are accumulated.
    """
    if config.global_batch not in (None, images):
        raise UserError(f"the run takes {images} images an update, but global_batch={config.global_batch} was given")
    if images % world:
        raise UserError(
            f"the run takes {images} images an update, which {world} ranks cannot share evenly: use another number of "
            "ranks"
        )
    a_rank = images // world
    size = next(size for size in range(min(config.batch_size, a_rank), 0, -1) if a_rank % size == 0)
    if size != config.batch_size:
        log.info("%d images an update on %d ranks: batch_size is %d now", images, world, size)
    return replace(config, batch_size=size, global_batch=images)


def json_like(value):
    """As it comes back from JSON: tuples are lists."""
    if isinstance(value, dict):
        return {key: json_like(item) for key, item in value.items()}
    return [json_like(item) for item in value] if isinstance(value, (list, tuple)) else value
