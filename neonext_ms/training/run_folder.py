"""The folder that a training run writes, and nothing else does."""

import json
import time
from pathlib import Path

from neonext_ms.errors import UserError
from neonext_ms.files import write_atomically
from neonext_ms.training.checkpoint import manifest_path, save_weights


class RunFolder:
    """config.yaml, metrics.jsonl, checkpoints/, summary.json, curves.png of one run.

    Args:
        path: of the folder; made if it is missing.
        model: name of the model, which the checkpoints carry.
        keep: how many of the newest checkpoints to keep beside the best.

    Raises:
        UserError: the folder holds a run already, or cannot be written.
    """

    def __init__(self, path: Path, model: str, keep: int):
        self.path = Path(path)
        self.model = model
        self.keep = keep
        self.checkpoints = self.path / "checkpoints"
        self.metrics = self.path / "metrics.jsonl"
        self._newest: list[Path] = []
        for name in ("config.yaml", "metrics.jsonl", "summary.json", "curves.png", "checkpoints"):
            if (self.path / name).exists():
                raise UserError(f"{self.path} holds a training run already ({name}): choose another output_dir")
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self.metrics.touch()
        except OSError as error:
            raise UserError(
                f"cannot write the run folder {self.path} ({error.strerror}): choose another output_dir"
            ) from None

    @property
    def best(self) -> Path:
        """The checkpoint with the best evaluation so far."""
        return self.checkpoints / f"{self.model}_best.ckpt"

    def write(self, name: str, text: str):
        """Write a small text file whole."""
        write_atomically(self.path / name, text)

    def log(self, event: str, **values):
        """Append one object to metrics.jsonl: the event, the time (s since 1970), and the values."""
        with open(self.metrics, "a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, "time": round(time.time(), 3), **values}) + "\n")

    def save(self, network, meta: dict, is_best: bool):
        """Save a checkpoint named after meta's epoch and step, and again as the best if it is; drop the oldest."""
        path = self.checkpoints / f"{self.model}-{meta['epoch']}_{meta['step']}.ckpt"
        save_weights(path, network, meta)
        if is_best:
            save_weights(self.best, network, meta)
        self._newest.append(path)
        for old in self._newest[: -self.keep]:
            manifest_path(old).unlink(missing_ok=True)
            old.unlink(missing_ok=True)
        del self._newest[: -self.keep]


def new_run_path(model: str, dataset: str) -> Path:
    """A folder below runs/ named after the model, the data set and the time."""
    return Path("runs") / f"{model}-{dataset}-{time.strftime('%Y%m%d-%H%M%S')}"
