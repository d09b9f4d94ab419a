"""MindSpore's profile of a few updates of a run: nothing is measured beside them, and no failure ends the run."""

import logging
import tempfile
import time
from pathlib import Path

from neonext_ms.files import write_atomically
from neonext_ms.texts import to_json

log = logging.getLogger(__name__)

HOST, STEPS = 0, 1  # tracks of the trace: MindSpore's kernels, and the updates


class StepProfile:
    """Profiles the updates of a range.

    On an NPU it writes MindSpore's own files for MindStudio Insight, which are parsed afterwards; on a CPU a trace for
    Chrome (chrome://tracing) or Perfetto.

    Args:
        steps: numbers of the updates, from 1; empty for none.
        folder: to write to, made when it is needed; None on all ranks but the first.
        device: "CPU" or "Ascend".
    """

    def __init__(self, steps: range, folder: Path | None, device: str):
        self._steps = steps if folder else range(0)
        self._folder, self._device = folder, device
        self._profile = self._raw = None
        self._begun = []  # (step, time in ns)

    def before(self, step: int):
        """Update `step` is next."""
        if step in self._steps:
            self._guard(self._begin, step)

    def after(self, step: int, wait):
        """Update `step` was made; `wait` returns when the device has made it."""
        if self._profile is not None and step >= self._steps[-1]:
            wait()
            self.close()

    def close(self):
        """Write what there is, if a profile is under way."""
        if self._profile is not None:
            self._guard(self._end)
            self._profile = None
            self._steps = range(0)

    def _guard(self, do, *arguments):
        try:
            do(*arguments)
        except Exception as error:  # of MindSpore's, of CANN's, or a full disk: the run is worth more
            why = str(error).strip().splitlines() or [type(error).__name__]
            log.warning("the updates are not profiled, the run goes on: %s", why[0])
            self._profile, self._steps = None, range(0)

    def _begin(self, step: int):
        self._begun.append((step, time.time_ns()))
        if self._profile is not None:
            return
        from mindspore.profiler import ProfilerActivity, profile, tensorboard_trace_handler

        self._folder.mkdir(exist_ok=True)
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.NPU] * (self._device == "Ascend")
        self._raw = None if self._device == "Ascend" else tempfile.TemporaryDirectory(prefix="neonext-profile-")
        place = self._raw.name if self._raw else str(self._folder)
        self._profile = profile(
            activities=activities, on_trace_ready=tensorboard_trace_handler(place, analyse_flag=False)
        )
        self._profile.start()

    def _end(self):
        self._profile.stop()
        end = time.time_ns()
        first, last = self._begun[0][0], self._begun[-1][0]
        if self._raw is None:
            parse = f"from mindspore.profiler.profiler import analyse; analyse('{self._folder}')"
            log.info('updates %d to %d are profiled; parse them with python -c "%s"', first, last, parse)
            return
        with self._raw as raw:
            files = sorted(Path(raw).glob("*/FRAMEWORK/cpu_op_execute_timestamp_*.txt"))
            kernels = [event for file in files for event in _kernels(file.read_text())]
        ends = [*(at for _, at in self._begun[1:]), end]
        updates = [_event(f"update {step}", at, (to - at) / 1e6, STEPS) for (step, at), to in zip(self._begun, ends)]
        path = self._folder / f"trace-{first}-{last}.json"
        write_atomically(path, to_json({"traceEvents": [*updates, *kernels]}))
        log.info("updates %d to %d are profiled: open %s in chrome://tracing or ui.perfetto.dev", first, last, path)


def _kernels(text: str) -> list[dict]:
    """Of MindSpore's list for CPUs: a line a kernel, name;kind;start in ns,duration in ms,thread start,duration..."""
    events = []
    for line in text.splitlines():
        name, _, times = line.split(";", 2)
        for item in times.split():
            start, duration, _ = item.split(",")
            events.append(_event(name.rsplit("/", 1)[-1], int(start), float(duration), HOST) | {"args": {"name": name}})
    return events


def _event(name: str, start: int, milliseconds: float, track: int) -> dict:
    """In Chrome's format: microseconds."""
    return {"name": name, "ph": "X", "ts": start / 1e3, "dur": 1e3 * milliseconds, "pid": 0, "tid": track}
