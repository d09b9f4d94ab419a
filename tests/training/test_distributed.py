"""Two ranks are one rank with twice the batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

WORKER = Path(__file__).with_name("rank_worker.py")
ROOT = Path(__file__).parent.parent.parent
# msrun starts whatever python is first on the PATH.
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": PATH}


def run(tmp_path, ranks: int, batch_size: int):
    output = tmp_path / f"{ranks}.npz"
    command = [str(WORKER), str(batch_size), "5", str(output)]
    if ranks == 1:
        command = [sys.executable, *command]
    else:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        launcher = [sys.executable, "-m", "mindspore.parallel.cluster.run", f"--worker_num={ranks}"]
        launcher += [f"--local_worker_num={ranks}", "--master_addr=127.0.0.1", f"--master_port={port}"]
        command = [*launcher, f"--log_dir={tmp_path / 'logs'}", "--join=True", *command]
    done = subprocess.run(command, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    logs = "".join(p.read_text() for p in sorted(tmp_path.glob("logs/worker_*.log")))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    return dict(np.load(output))


@pytest.mark.slow
def test_two_ranks_equal_one_with_twice_the_batch(tmp_path):
    two, one = run(tmp_path, 2, 16), run(tmp_path, 1, 32)
    assert two.pop("world") == 2 and one.pop("world") == 1
    assert (two.pop("averaged") == 0.5).all() and (one.pop("averaged") == 0).all()
    assert two["metrics"][1] == one["metrics"][1] == 360, "every image counted once, padding not at all"
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=0, atol=1e-5, err_msg=name)
