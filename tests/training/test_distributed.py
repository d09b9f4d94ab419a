"""Two ranks are one rank with twice the batch, and stop together."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from neonext_ms.training.resume import newest
from tests.training.tiny import events

WORKER = Path(__file__).with_name("rank_worker.py")
ROOT = Path(__file__).parent.parent.parent
# msrun starts whatever python is first on the PATH.
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": PATH}


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


def run(tmp_path, ranks: int, batch_size: int):
    output = tmp_path / f"{ranks}.npz"
    command = [*([sys.executable] if ranks == 1 else msrun(tmp_path, ranks)), str(WORKER), str(batch_size), "5"]
    command.append(str(output))
    done = subprocess.run(command, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr + logs(tmp_path)
    return dict(np.load(output))


@pytest.mark.slow
def test_two_ranks_equal_one_with_twice_the_batch(tmp_path):
    two, one = run(tmp_path, 2, 16), run(tmp_path, 1, 32)
    assert two.pop("world") == 2 and one.pop("world") == 1
    assert (two.pop("averaged") == 0.5).all() and (one.pop("averaged") == 0).all()
    assert two["metrics"][1] == one["metrics"][1] == 360, "every image counted once, padding not at all"
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_both_after_the_same_update(tmp_path):
    run = tmp_path / "run"
    job = subprocess.Popen(
        [*msrun(tmp_path, 2), str(WORKER.with_name("stop_worker.py")), str(run), str(tmp_path)],
        env=ENVIRONMENT,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 120
    while not (run / "metrics.jsonl").exists() or len(events(run, "train")) < 3:
        assert job.poll() is None and time.monotonic() < end, logs(tmp_path)
        time.sleep(0.02)
    os.kill(int((tmp_path / "1.pid").read_text()), signal.SIGTERM)
    ends = [tmp_path / f"{rank}.end" for rank in (0, 1)]
    while not all(path.exists() and path.read_text() for path in ends):
        assert job.poll() is None and time.monotonic() < end, logs(tmp_path)
        time.sleep(0.02)
    job.send_signal(signal.SIGINT)  # it would wait half a minute for its scheduler
    job.wait(30)
    ends = [path.read_text() for path in ends]
    assert "a signal to another rank has stopped the run" in ends[0] and "SIGTERM has stopped the run" in ends[1]
    checkpoint = newest(run / "checkpoints")
    step = checkpoint.manifest["step"]
    assert all(f"after update {step} of" in end for end in ends)
    assert checkpoint.manifest["training"]["global_batch"] == 128
    assert events(run, "train")[-1]["step"] == step
