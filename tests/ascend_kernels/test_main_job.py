"""The main job on a simulated NPU: every line of the Ascend path runs, from data to export; results are zeros."""

import json
import os
import shlex
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

# Two stages of neonext_pico's widths, which are compiled in half the time.
NETWORK = 'structure={depths: [1, 1], dims: [32, 64], kernels: ["4+7", "7"], shifts: [1, 0]}'
SETTINGS = ["device=Ascend", "workers=2", NETWORK, "epochs=1", "batch_size=64", "amp_level=O2"]

# What MindSpore's simulation writes into the working folder by itself: the order of all kernels.
SIMULATION = {"execute_order", "rank_0", "offload"}


@pytest.mark.slow
def test_from_data_to_export(tmp_path):
    command = [sys.executable, ROOT / "ascend_kernels/dryrun", "--environment"]
    exports = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    launcher = [f"{ROOT}/scripts/run_distribute_train.sh", f"output_dir={tmp_path}/run", *SETTINGS]
    script = f"{exports}\nexec bash {shlex.join(launcher)}"
    environment = {name: value for name, value in os.environ.items() if name != "RANK_SIZE"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in tmp_path.iterdir()} - SIMULATION == {"run"}, "nothing else in the user's folder"
    assert not list(tmp_path.rglob("*kernel_meta*"))
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert (summary["device"], summary["devices"]) == ("Ascend", 2)
    assert summary["final"]["images"] == 360, "counted by the host: the simulated device gives zeros"
    assert (tmp_path / "run/neonext_pico.mindir").exists()
    log = (tmp_path / "run/logs/start-1/worker_0.log").read_text()
    fallen_back = [line for line in log.splitlines() if "dense backend" in line]
    assert all("a side of one pixel" in line for line in fallen_back), "the AscendC operators are taken elsewhere"
