"""Two ranks are one rank with twice the batch, averaged weights included; they stop together, and others go on."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.inputs import open_sources, train_loader
from neonext_ms.training.run.resume import newest
from tests.support import rank_worker
from tests.support.paths import ROOT
from tests.support.tiny import ELASTIC, EPOCH, TinyConfig, events

WORKER = ROOT / "tests" / "support" / "rank_worker.py"
# msrun starts whatever python is first on the PATH.
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": PATH}
# A shell that starts a program by scripts/job.sh: project, ranks, folder, program.
LAUNCH = """set -euo pipefail
for part in env options cluster job; do source "$0/scripts/$part.sh"; done
JOB_OPTIONS=(--workers="$1")
shift
run_job "$@"
"""


def msrun(tmp_path, ranks: int) -> list[str]:
    """The command that starts a script in so many ranks."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    launcher = [sys.executable, "-m", "mindspore.parallel.cluster.run", f"--worker_num={ranks}"]
    launcher += [f"--local_worker_num={ranks}", "--master_addr=127.0.0.1", f"--master_port={port}"]
    return [*launcher, f"--log_dir={tmp_path / 'logs'}", "--join=True"]


def logs(tmp_path) -> str:
    return "".join(p.read_text() for p in sorted(tmp_path.glob("logs/worker_*.log")))


@pytest.mark.slow
def test_two_ranks_equal_one_with_twice_the_batch(tmp_path):
    """Four micro-batches of 8, two on each rank, and one of 32."""
    command = [*msrun(tmp_path, 2), str(WORKER), "8", "5", str(tmp_path / "two.npz")]
    done = subprocess.run(command, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr + logs(tmp_path)
    rank_worker.main(32, 5, str(tmp_path / "one.npz"))
    two, one = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("two", "one"))
    assert two.pop("world") == 2 and one.pop("world") == 1
    averaged = two.pop("averaged"), one.pop("averaged")
    assert len(averaged[0]) == 2 and (averaged[0] == 0.5).all() and (averaged[1] == 0).all()
    assert two["metrics"][1] == one["metrics"][1] == 360, "every image counted once, padding not at all"
    assert one["ema_updates"] == 5, "the update that is skipped is not averaged either"
    assert not np.allclose(one["ema.head.fc.weight"], one["head.fc.weight"], rtol=0, atol=1e-3)
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=0, atol=1e-5, err_msg=name)


class Starts:
    """Starts of elastic_worker.py by the launcher, which all go on with one run."""

    def __init__(self, folder: Path):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.run = folder / "run"
        self.number = 0

    def start(self, ranks: int, stop: int, save_minutes: float = 0.0, sent: str = "SIGUSR1", **options) -> str:
        """A start that is told by a signal to stop after this update, 0 for none; all ranks stop after the same one.

        Returns what rank 0 has said.
        """
        self.number += 1
        program = [
            WORKER.with_name("elastic_worker.py"),
            self.run,
            self.number,
            stop,
            save_minutes,
            sent,
            json.dumps(options),
        ]
        command = ["bash", "-c", LAUNCH, ROOT, str(ranks), self.folder, *map(str, program)]
        done = subprocess.run(command, env=ENVIRONMENT, cwd=self.folder, capture_output=True, text=True, timeout=600)
        assert done.returncode == (75 if stop else 0), done.stdout + done.stderr
        last = newest(self.run / "checkpoints").manifest
        assert last["training"]["global_batch"] == 128 and stop <= last["step"] <= EPOCH
        logs = sorted((self.folder / "logs" / f"start-{self.number}").glob("worker_*.log"))
        assert len(logs) == ranks
        signals = [sent, "a signal to another rank"][: ranks if stop else 0]
        for log, reason in zip(logs[::-1], signals):
            assert f"{reason} has stopped the run after update {last['step']} of {EPOCH}, which is" in log.read_text()
        return logs[0].read_text()

    def copied(self, folder: Path) -> "Starts":
        """The same in another folder, to go on there."""
        copy = Starts(shutil.copytree(self.folder, folder))
        copy.number = self.number
        return copy

    def samples(self) -> list[list[int]]:
        """Of every update that was made, over the ranks in order."""
        found = []
        for number in range(1, self.number + 1):
            ranks = [path.read_text().splitlines() for path in sorted(self.folder.glob(f"{number}-*.samples"))]
            found += [sum(map(json.loads, lines), []) for lines in zip(*ranks, strict=True)]
        return found


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Two ranks that share the optimizer, of which a signal has stopped the last, beside saves by the clock."""
    starts = Starts(tmp_path_factory.mktemp("begun"))
    starts.start(2, stop=4, save_minutes=1e-9, sent="SIGTERM", parallel_optimizer=True)
    return starts


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two ranks that nothing has stopped, and that share nothing."""
    starts = Starts(tmp_path_factory.mktemp("whole"))
    starts.start(2, stop=0)
    return starts


@pytest.mark.slow
def test_two_ranks_then_one_then_two_are_a_run_that_nothing_has_stopped(begun, whole, tmp_path):
    """Stopped by a signal to the last rank, and started anew with another number of them, who share the optimizer when
    they are two.
    """
    starts = begun.copied(tmp_path / "stopped")
    assert "parallel_optimizer has no effect on one rank" in starts.start(1, stop=7, parallel_optimizer=True)
    starts.start(2, stop=0, parallel_optimizer=True)
    config = TinyConfig(**ELASTIC)
    loader = train_loader(config, open_sources(config)[0], Ranks(0, 1, "CPU"))
    assert starts.samples() == [batch.indices.tolist() for batch in loader.epoch(0)]
    both = [events(run, "train") for run in (starts.run, whole.run)]
    assert [event["step"] for event in both[0]] == list(range(1, EPOCH + 1))
    for what in ("loss", "accuracy", "gradient_norm"):
        found, expected = ([event[what] for event in run] for run in both)
        assert found == pytest.approx(expected, rel=1e-3), "other samples would change it by far more"
    summary = json.loads((starts.run / "summary.json").read_text())
    assert summary["devices"] == 2 and summary["final"]["images"] == 360


@pytest.mark.slow
def test_two_ranks_stopped_between_checkpoints_are_the_run_that_was_not_to_the_bit(begun, whole, tmp_path):
    """Also where updates are saved by the clock for a while, and where ranks share the optimizer's state for a while. A
    finished run can be started again.
    """
    stopped = begun.copied(tmp_path / "stopped")
    stopped.start(2, stop=0)
    both = [events(starts.run, "train", "eval") for starts in (stopped, whole)]
    norms = [[event.pop("gradient_norm", 0) for event in run] for run in both]
    assert both[0] == both[1]
    assert norms[0] == pytest.approx(norms[1], rel=1e-6), "of shared parts it is summed in another order"
    found, expected = (newest(starts.run / "checkpoints") for starts in (stopped, whole))
    assert expected.state["statistics_of_ranks"].shape == (2, 2 * 2 * (8 + 8 + 16 + 16)), "network's and averages"
    one, other = expected.state["statistics_of_ranks"]
    assert not np.array_equal(one, other), "each rank has gathered its own"
    for kind in ("weights", "state"):
        ours, theirs = getattr(found, kind), getattr(expected, kind)
        assert [name for name in theirs if not np.array_equal(ours[name], theirs[name])] == []
        assert list(ours) == list(theirs)
    summary = (stopped.run / "summary.json").read_text()
    stopped.start(2, stop=0)
    assert (stopped.run / "summary.json").read_text() == summary
