"""The metrics of a run for TensorBoard, written by tensorboardX, which is optional."""

import importlib.util
import numbers
import time
from pathlib import Path

from neonext_ms.errors import NotInstalled


def check_installed():
    """Raise UserError where tensorboardX is missing."""
    if importlib.util.find_spec("tensorboardX") is None:
        raise NotInstalled("tensorboard=true", "tensorboardX")


class TensorBoard:
    """An event file in `folder`, which is made."""

    def __init__(self, folder: Path):
        # Not its SummaryWriter: that one writes in a thread, and a run that is stopped would lose what it holds.
        from tensorboardX.event_file_writer import EventsWriter

        folder.mkdir(exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"))

    def log(self, event: str, step: int, **values):
        """A point of the curve "<event>/<name>" for each number, on the disk when this returns; others have none."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for name, value in values.items():
            if isinstance(value, numbers.Real):
                summary = scalar(f"{event}/{name}", value)
                self._writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))
        self._writer.flush()
