"""The folder that a training run writes, and nothing else does."""

import fcntl
import itertools
import json
import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from neonext_ms.checkpoint.store import (
    Checkpoint,
    delete_checkpoint,
    load_checkpoint,
    nothing,
    numbered,
    save_checkpoint,
    step_of,
    tidy,
)
from neonext_ms.errors import UserError
from neonext_ms.files import name_of_hidden, write_atomically
from neonext_ms.runtime.run_folder import holds_run
from neonext_ms.texts import to_json
from neonext_ms.training.config import TrainConfig

_WRITTEN = re.compile(r"config\.yaml|metrics\.jsonl|summary\.json|.+\.ckpt(\.json(\.next)?)?")

log = logging.getLogger(__name__)


class RunFolder:
    """config.yaml, metrics.jsonl, checkpoints/, summary.json, curves.png of one run.

    It is locked: a second process that would write the same run is refused.

    Args:
        path: of the folder; made if it is missing.
        model: name of the model, which the checkpoints carry.
        keep: how many of the newest checkpoints to keep beside the best.
        resume: go on with the run that the folder holds; without it such a folder is refused.

    Raises:
        UserError: the folder holds a run already, is in use, or cannot be written.
    """

    def __init__(self, path: Path, model: str, keep: int, resume: bool = False):
        self.path = Path(path)
        self.model = model
        self.keep = keep
        self.checkpoints = self.path / "checkpoints"
        self.metrics = self.path / "metrics.jsonl"
        self._newest: list[Path] = []
        self._unsaved_best = None  # (weights, card)
        self._unwritten = b""  # lines of metrics.jsonl for which the disk had no room
        if not resume and (found := holds_run(self.path)):
            raise UserError(
                f"{self.path} holds a training run already ({found}): choose another output_dir, or go on with it by "
                f"resume={self.path}"
            )
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self._lock = self._take_lock()
            self.metrics.touch()
            for file in (*self.path.glob(".*"), *self.checkpoints.glob(".*")):
                if _WRITTEN.fullmatch(name_of_hidden(file.name) or ""):  # by a process that was killed
                    file.unlink()
        except OSError as error:
            raise UserError(
                f"cannot write the run folder {self.path} ({error.strerror}): choose another output_dir"
            ) from None

    def close(self):
        """Let another process have the folder."""
        if self._unwritten:
            self._append()
        os.close(self._lock)

    @property
    def best(self) -> Path:
        """The checkpoint with the best evaluation so far."""
        return self.checkpoints / f"{self.model}_best.ckpt"

    def write(self, name: str, text: str):
        """Write a small text file whole."""
        write_atomically(self.path / name, text)

    def log(self, event: str, **values):
        """Append one object to metrics.jsonl: the event, the time (s since 1970), and the values.

        When it cannot be written, the line waits for the next one; the run goes on.
        """
        line = to_json({"event": event, "time": round(time.time(), 3), **values}) + "\n"
        self._unwritten += line.encode()
        self._append()

    def _append(self):
        """Write the lines that are not in metrics.jsonl yet, all or none."""
        try:
            with open(self.metrics, "ab", buffering=0) as file:
                end = file.tell()
                try:
                    if file.write(self._unwritten) < len(self._unwritten):
                        raise OSError("no room for the whole line")
                except OSError:
                    os.truncate(self.metrics, end)  # no half line may stay in front of the next one
                    raise
        except OSError as error:
            log.warning("cannot write %s (%s); its lines wait in memory", self.metrics, error.strerror or error)
        else:
            self._unwritten = b""

    def save(
        self,
        weights: dict[str, np.ndarray],
        state: dict[str, np.ndarray],
        card: dict,
        best: tuple[dict[str, np.ndarray], dict] | None = None,
        pause: Callable[[], None] = nothing,
    ):
        """Save a checkpoint named after card's epoch and step, and the best one if there is a new one; drop the oldest.

        The best comes first: after a kill between the two, the run goes on before this step and makes it again. When it
        cannot be written, it is tried again with the next checkpoint.

        Args:
            weights, state: see `save_checkpoint`.
            card: likewise.
            best: weights of the best evaluation and their card, if it is this one.
            pause: see `save_checkpoint`.

        Raises:
            OSError: it could not be written; the checkpoints before it are as they were.
        """
        if best is not None:
            # The training state is in the numbered one.
            self._unsaved_best = best[0], {key: value for key, value in best[1].items() if key != "training"}
        if self._unsaved_best is not None:
            save_checkpoint(self.best, *self._unsaved_best, pause=pause)
            self._unsaved_best = None
        path = self.checkpoints / f"{self.model}-{card['epoch']}_{card['step']}.ckpt"
        save_checkpoint(path, weights, card, state, pause)
        self._newest = [*(other for other in self._newest if other != path), path]
        while len(self._newest) > self.keep:
            delete_checkpoint(self._newest[0])
            del self._newest[0]

    def rewind(self, step: int, evaluated: bool):
        """Go back to a checkpoint. What an interrupted writer left is tidied up; metrics of later steps are dropped, as
        they will be made again.

        Args:
            step: that the run has made.
            evaluated: whether the evaluation after this step was made too.
        """
        finished = [path for path in numbered(self.checkpoints) if tidy(path)]
        self._newest = [path for path in finished if step_of(path) <= step]
        lines = self.metrics.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if _is_before(line, step, evaluated)]
        if kept != lines:
            write_atomically(self.metrics, b"".join(kept))

    def adopt(self, other: Path):
        """Begin with the metrics and the best checkpoint of another run, which this one goes on from."""
        if (other / "metrics.jsonl").is_file():
            write_atomically(self.metrics, (other / "metrics.jsonl").read_bytes())
        best = other / "checkpoints" / self.best.name
        if best.exists():
            checkpoint = load_checkpoint(best, with_state=False)
            save_checkpoint(self.best, checkpoint.weights, checkpoint.manifest)

    def _take_lock(self) -> int:
        """An open file that holds the lock until it is closed, also by the end of the process."""
        lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise UserError(
                f"another process is writing the run {self.path}: wait for its end, or choose another output_dir"
            ) from None
        except OSError as error:
            log.warning("%s cannot be locked (%s): take care that no second run writes it", self.path, error.strerror)
        return lock


def open_folder(config: TrainConfig, run: Path | None, checkpoint: Checkpoint | None, state) -> RunFolder:
    """The folder of a run that begins or goes on, with nothing in it of after its `RunState`.

    Args:
        config: of the run.
        run, checkpoint: that it goes on in and from, see `find_resume`.
        state: where it stands.
    """
    if run:
        folder = RunFolder(run, config.model, config.keep_checkpoint_max, resume=True)
    else:
        path = Path(config.output_dir) if config.output_dir else _new_folder(config.model, config.dataset)
        folder = RunFolder(path, config.model, config.keep_checkpoint_max)
        if checkpoint:
            folder.adopt(checkpoint.path.parent.parent)
    folder.rewind(state.step, state.evaluated == state.step)
    if checkpoint is None or not (folder.path / "config.yaml").exists():
        folder.write("config.yaml", config.to_yaml())
    return folder


def _new_folder(model: str, dataset: str) -> Path:
    """Make a folder below runs/ named after the model, the data set and the time; a second one in a second is -2."""
    base = f"{model}-{dataset}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in itertools.count(1):
        path = Path("runs") / (base if number == 1 else f"{base}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"cannot write the run folder {path} ({error.strerror}): choose an output_dir") from None
        return path


def _is_before(line: bytes, step: int, evaluated: bool) -> bool:
    """Whether a line of metrics.jsonl is whole and was written before a checkpoint of this step."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not line.endswith(b"\n") or not isinstance(event, dict) or not isinstance(at := event.get("step", 0), int):
        return False
    return at < step or (at == step and (evaluated or event.get("event") != "eval"))
