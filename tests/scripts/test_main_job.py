"""The main job as a new user starts it: no arguments but where to write."""

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_digits_from_training_to_inference(tmp_path):
    run = tmp_path / "run"
    job = subprocess.run(
        ["bash", str(ROOT / "scripts" / "run_distribute_train.sh"), f"output_dir={run}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert job.returncode == 0, job.stdout[-3000:] + job.stderr[-3000:]
    summary = json.loads((run / "summary.json").read_text())
    assert summary["devices"] == 2 and summary["final"]["images"] == 360
    assert summary["best"]["accuracy"] >= 0.975
    card = json.loads((run / "neonext_pico.mindir.json").read_text())
    assert card["verification"]["largest_difference"] <= 1e-5
    names = {p.name for p in run.iterdir()}
    assert names == {
        *("config.yaml", "metrics.jsonl", "summary.json", "curves.png", "checkpoints", "logs"),
        *("neonext_pico.mindir", "neonext_pico.mindir.json"),
    }
    assert {p.name for p in (run / "logs").iterdir()} >= {"worker_0.log", "worker_1.log"}
    # Progress, and five held-out digits with their labels, on the terminal.
    assert "images/s" in job.stdout and "left" in job.stdout and job.stdout.count("(label: ") == 5
    assert "Traceback" not in job.stdout + job.stderr and "WARNING" not in job.stdout + job.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["run"], "nothing else was written"
