"""The scripts that a user starts: their options, their refusals, and the whole job."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from neonext_ms.runtime.run_folder import CONFIG_HEADER
from tests.support.paths import ROOT

LAUNCHER = "scripts/run_distribute_train.sh"


@pytest.mark.parametrize("name", ["run_distribute_train", "run_standalone_train", "run_eval", "run_tests"])
def test_help(bash, name):
    result = bash(f"scripts/{name}.sh", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("usage: bash scripts/run_")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["workers=0"], "workers must be a whole number of at least 1, got '0'"),
        (["--workers", "-2"], "workers must be a whole number of at least 1, got '-2'"),
        (["--workers=two"], "workers must be a whole number of at least 1, got 'two'"),
        (["workers="], "workers must be a whole number of at least 1, got ''"),
        (["epochs=1", "digits"], "argument 'digits' is neither key=value nor --key value"),
        (["table.json", "data", "c.yaml", "r.ckpt", "x"], "argument 'x' is one too many: expected [RANK_TABLE_FILE] ["),
        (["data", "none.yaml"], "config file 'none.yaml' does not exist"),
        (["none.json", "data"], "rank table 'none.json' does not exist"),
        (["config=none.yaml"], "config file 'none.yaml' does not exist; the recipes are in"),
        (["output_dir=/dev/null"], "output_dir '/dev/null' is no folder: name a new one"),
        (["resume=none"], "resume: there is no run folder or checkpoint 'none'"),
        (["resume=auto"], "resume=auto needs output_dir, the run folder to go on with if it is there"),
        (["resume=.", "output_dir=run"], "resume=. goes on in that folder: leave output_dir out"),
        (["max_restarts=often"], "max_restarts must be a whole number of at least 0, got 'often'"),
        (["preempt_signal=USR"], "preempt_signal must be the name of a signal such as SIGUSR1, got 'USR'"),
        (["preempt_signal=SIGNONE"], "preempt_signal must be the name of a signal such as SIGUSR1, got 'SIGNONE'"),
        (["hang_timeout=-1"], "hang_timeout must be a number of seconds, got '-1'"),
    ],
)
def test_mistake_in_the_launchers_options_is_one_line(bash, tmp_path, arguments, message):
    result = bash(LAUNCHER, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"error: {message}")
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"NNODES": "0"}, "NNODES must be a whole number of at least 1, got '0'"),
        ({"NNODES": "2", "NODE_RANK": "2"}, "NODE_RANK must be one of 0 to 1 (NNODES=2), got '2'"),
        ({"NODE_RANK": "1"}, "NODE_RANK must be one of 0 to 0 (NNODES=1), got '1'"),
        ({"MASTER_PORT": "80"}, "MASTER_PORT must be a number from 1024 to 65535, got '80'"),
        ({"NNODES": "2", "MASTER_PORT": "8118"}, "NNODES=2 needs MASTER_ADDR and MASTER_PORT: address and a free port"),
        (
            {"NNODES": "2", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "8118"},
            "NNODES=2 needs output_dir, a folder that all nodes share",
        ),
    ],
)
def test_mistake_about_the_machines_is_one_line(bash, tmp_path, variables, message):
    result = bash(LAUNCHER, **variables)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"error: {message}")
    assert not list((tmp_path / "work").iterdir())


def test_named_port_that_is_in_use_is_refused_before_anything_starts(bash, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = bash(LAUNCHER, "output_dir=run", MASTER_PORT=str(port), ASCEND_RT_VISIBLE_DEVICES="0,1")
    assert result.returncode == 2
    check = [sys.executable, ROOT / "scripts/check_requirements.py", "ascend"]
    missing = subprocess.run(check, capture_output=True, text=True).stderr.strip()
    assert (f"== CANN needs Python packages that are {missing}: pip" in result.stdout) == bool(missing), "said at once"
    assert result.stderr.startswith(f"error: port {port} of 127.0.0.1 cannot be used here (Address already in use): ")
    assert [path.name for path in (tmp_path / "work").rglob("*")] == ["run", "logs", "start-1"]


def test_processes_of_an_earlier_start_are_named_and_left_alone(bash, tmp_path):
    logs = tmp_path / "run" / "logs" / "start-1"
    logs.mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"]) as old:
        started = Path(f"/proc/{old.pid}/stat").read_text().rpartition(")")[2].split()[19]
        (logs / "rank_3.pid").write_text(f"{old.pid} {started} {socket.gethostname()}\n")
        (logs / "rank_4.pid").write_text(f"{os.getpid()} 1 {socket.gethostname()}\n")  # the number, not the process
        (logs / "rank_5.pid").write_text(f"{old.pid} {started} elsewhere\n")
        result = bash(LAUNCHER, f"resume={tmp_path / 'run'}")
        assert old.poll() is None
        old.kill()
    assert result.returncode == 2
    assert result.stderr == (
        f"error: processes of an earlier start still run in {tmp_path}/run: rank 3 (process {old.pid}); "
        "wait for them or end them first\n"
    )
    assert {path.name for path in logs.parent.iterdir()} == {"start-1"}


def test_no_more_workers_than_npus(bash):
    result = bash(LAUNCHER, "workers=3", ASCEND_RT_VISIBLE_DEVICES="4,5")
    assert result.returncode == 2
    assert result.stderr == "error: workers=3 is more than the 2 NPUs of this machine\n"


def test_after_a_mistake_in_the_options_the_logs_stay_and_the_same_folder_can_be_named_again(bash, tmp_path):
    for starts in (["start-1"], ["start-1", "start-2"]):
        result = bash("scripts/run_standalone_train.sh", "output_dir=run", "--epochs", "many", "lr=1")
        assert result.returncode == 2
        assert result.stdout.startswith("== Training with 1 worker(s)")
        assert "epochs" in result.stdout.splitlines()[-1] and "many" in result.stdout.splitlines()[-1]
        assert result.stderr == ""
        assert sorted(path.name for path in (tmp_path / "work" / "run" / "logs").iterdir()) == starts


def test_a_folder_with_a_run_is_refused_and_that_of_a_start_that_came_to_nothing_is_taken(bash, tmp_path):
    run = tmp_path / "work" / "run"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(CONFIG_HEADER)
    (run / "summary.json").touch()
    result = bash(LAUNCHER, "output_dir=run")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "error: output_dir 'run' holds a training run already (summary.json): name a new folder, or resume='run'\n"
    )
    assert sorted(path.name for path in run.iterdir()) == ["config.yaml", "summary.json"]
    (run / "summary.json").unlink()
    result = bash("scripts/run_standalone_train.sh", "output_dir=run", "epochs=many")
    assert result.stdout.startswith("== Training with 1 worker(s)") and result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "'missing' is neither a run folder nor a checkpoint file"),
        (["."], "'.' is not the folder of one run with a checkpoints/*_best.ckpt"),
    ],
)
def test_mistake_in_what_to_evaluate(bash, arguments, message):
    result = bash("scripts/run_eval.sh", *arguments)
    assert (result.returncode, result.stderr) == (2, f"error: {message}\n")


def test_evaluation_without_any_run(bash, project):
    result = bash("scripts/run_eval.sh", root=project)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: no trained model below {project}/runs: train one with")


def test_a_module_in_the_working_folder_is_not_taken_for_one_of_pythons(bash, tmp_path):
    (tmp_path / "work").mkdir()
    for module in ("signal", "random", "yaml", "neonext_ms"):
        (tmp_path / "work" / f"{module}.py").write_text("raise SystemExit('the wrong module')")
    result = bash("scripts/run_standalone_train.sh", "output_dir=run", "epochs=many")
    assert "the wrong module" not in result.stdout + result.stderr
    assert "epochs" in result.stdout.splitlines()[-1] and result.returncode == 2


def test_evaluation_takes_the_newest_run(bash, project):
    shutil.copy(ROOT / "setup.py", project)
    for age, name in ((1000, "b"), (3000, "c"), (2000, "a")):
        checkpoint = project / "runs" / name / "checkpoints" / "tiny_best.ckpt"
        checkpoint.parent.mkdir(parents=True)
        checkpoint.touch()
        os.utime(checkpoint, (time.time() - age,) * 2)
    result = bash("scripts/run_eval.sh", root=project)
    assert result.stdout == f"== Evaluating {project}/runs/b/checkpoints/tiny_best.ckpt\n"


@pytest.mark.slow
def test_the_main_job_from_training_to_inference(bash, tmp_path):
    result = bash(LAUNCHER, "output_dir=a run", "--log_interval", "5")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    run = tmp_path / "work" / "a run"
    made = {path.name for path in run.iterdir()}
    assert made == {
        *("config.yaml", "metrics.jsonl", "summary.json", "curves.png", "checkpoints", "logs", ".lock"),
        *("neonext_pico.mindir", "neonext_pico.mindir.json"),
    }
    assert {path.name for path in (run / "logs" / "start-1").iterdir()} == {
        *("rank_0.beat", "rank_1.beat", "worker_0.log", "worker_1.log", "scheduler.log", "msrun.log"),
    }
    summary = json.loads((run / "summary.json").read_text())
    assert summary["devices"] == 2 and summary["final"]["images"] == 360
    assert summary["best"]["accuracy"] >= 0.975
    card = json.loads((run / "neonext_pico.mindir.json").read_text())
    assert card["verification"]["largest_difference"] <= 1e-5
    assert "images/s" in result.stdout and " left" in result.stdout and result.stdout.count("(label: ") == 5
    assert "Traceback" not in result.stdout and "WARNING" not in result.stdout
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["a run"]  # MindSpore leaves files where it runs

    evaluated = bash("scripts/run_eval.sh", run, "batch_size=90")
    assert (evaluated.returncode, evaluated.stderr) == (0, "")
    assert f"accuracy {100 * summary['best']['accuracy']:.2f} %" in evaluated.stdout
