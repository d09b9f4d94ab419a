"""Programs that show runs: what a run tells them. Their packages are optional, and none of them can end a run."""

import importlib.util
import logging
import numbers
import os
import time
from collections.abc import Iterable
from pathlib import Path

from neonext_ms.errors import NotInstalled

PROJECT = "neonext_ms"

log = logging.getLogger(__name__)


class Tracker:
    """One of them. Any method may raise whatever its package raises.

    Args:
        folder: of the run, into which everything is written.
    """

    package = module = ""  # to install, to import

    def __init__(self, folder: Path):
        self.folder = folder

    def start(self, config: dict):
        """Before the first event."""

    def log(self, step: int, values: dict[str, float]):
        """Points of curves, "<event>/<name>"."""

    def summary(self, values: dict[str, float]):
        """What came out, at the end of a run."""

    def end(self):
        """Nothing more comes from this process."""


class TensorBoard(Tracker):
    """An event file in the run's folder tensorboard, by tensorboardX; what was logged is on the disk."""

    package = module = "tensorboardX"

    def start(self, config):
        # Not its SummaryWriter: that one writes in a thread, and a run that is stopped would lose what it holds.
        from tensorboardX.event_file_writer import EventsWriter

        folder = self.folder / "tensorboard"
        folder.mkdir(exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"))

    def log(self, step, values):
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for name, value in values.items():
            self._writer.write_event(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))
        self._writer.flush()


class SwanLab(Tracker):
    """A run in the folder swanlab, for `swanlab sync`; SWANLAB_MODE sends it at once."""

    package = module = "swanlab"

    def start(self, config):
        import swanlab

        (self.folder / "swanlab").mkdir(exist_ok=True)
        names = {"project": PROJECT, "name": self.folder.name, "group": self.folder.name}
        mode = os.environ.get("SWANLAB_MODE", "offline")
        self._run = swanlab.init(**names, mode=mode, log_dir=str(self.folder / "swanlab"), config=config)

    def log(self, step, values):
        self._run.log(values, step=step)

    def summary(self, values):
        self._run.config.update(values)

    def end(self):
        self._run.finish()


class WandB(Tracker):
    """A run in the folder wandb, for `wandb sync`; WANDB_MODE=online sends it at once."""

    package = module = "wandb"

    def start(self, config):
        import wandb

        names = {"project": PROJECT, "name": self.folder.name, "group": self.folder.name}
        settings = wandb.Settings(console="off", silent=True)  # the terminal is the run's own
        mode = os.environ.get("WANDB_MODE", "offline")
        self._run = wandb.init(**names, mode=mode, dir=str(self.folder), config=config, settings=settings)

    def log(self, step, values):
        self._run.log(values, step=step)

    def summary(self, values):
        self._run.summary.update(values)

    def end(self):
        self._run.finish()


class MLflow(Tracker):
    """A run in the file store mlruns, or on the server that MLFLOW_TRACKING_URI names."""

    package, module = "mlflow-skinny", "mlflow"

    def start(self, config):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # without which version 3 takes databases only
        from mlflow import MlflowClient
        from mlflow.entities import Param

        place = os.environ.get("MLFLOW_TRACKING_URI", (self.folder.resolve() / "mlruns").as_uri())
        self._client = MlflowClient(tracking_uri=place)
        known = self._client.get_experiment_by_name(PROJECT)
        experiment = known.experiment_id if known else self._client.create_experiment(PROJECT)
        self._id = self._client.create_run(experiment, run_name=self.folder.name).info.run_id
        self._client.log_batch(self._id, params=[Param(name, str(value)) for name, value in config.items()])

    def log(self, step, values):
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(self._id, [Metric(name, value, now, step) for name, value in values.items()])

    def summary(self, values):
        self.log(0, values)

    def end(self):
        self._client.set_terminated(self._id)


KINDS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "swanlab": SwanLab, "wandb": WandB, "mlflow": MLflow}


def check_installed(names: Iterable[str]):
    """Raise UserError where a tracker's package is missing."""
    for name in names:
        if importlib.util.find_spec(KINDS[name].module) is None:
            wanted = "tensorboard=true" if name == "tensorboard" else f"trackers={name}"
            raise NotInstalled(wanted, KINDS[name].package)


class Trackers:
    """All that a run tells; one that fails is named in one warning and told nothing more.

    Args:
        names: of KINDS.
        folder: of the run.
    """

    def __init__(self, names: Iterable[str], folder: Path):
        self.told = {name: KINDS[name](folder) for name in names}

    def start(self, config: dict):
        """See `Tracker`."""
        self._tell("start", config)

    def log(self, event: str, step: int, **values):
        """A point of the curve "<event>/<name>" for each number; others have none."""
        self._tell("log", step, _numbers(values, event))

    def summary(self, summary: dict):
        """Its numbers, those inside its parts as "<part>/<name>"."""
        self._tell("summary", _numbers(summary, "summary"))

    def end(self):
        """See `Tracker`; a second time nothing happens."""
        self._tell("end")
        self.told = {}

    def _tell(self, method: str, *arguments):
        for name, tracker in list(self.told.items()):
            try:
                getattr(tracker, method)(*arguments)
            except Exception as error:  # whatever their packages raise: the run is worth more
                del self.told[name]
                why = str(error).strip().splitlines() or [type(error).__name__]
                log.warning("%s failed and is told nothing more, the run goes on: %s", name, why[0])


def _numbers(values: dict, prefix: str) -> dict[str, float]:
    found = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _numbers(value, f"{prefix}/{name}")
        elif isinstance(value, numbers.Real):
            found[f"{prefix}/{name}"] = float(value)
    return found
