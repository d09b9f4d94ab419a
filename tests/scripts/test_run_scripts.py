"""The scripts that a user starts: their options, their refusals, and the whole job."""

import json

import pytest

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
        (["config=none.yaml"], "config file 'none.yaml' does not exist; the recipes are in"),
        (["output_dir=."], "output_dir '.' exists already: name a new folder"),
    ],
)
def test_mistake_in_the_launchers_options_is_one_line(bash, tmp_path, arguments, message):
    result = bash(LAUNCHER, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"error: {message}")
    assert not list((tmp_path / "work").iterdir())


def test_no_more_workers_than_npus(bash):
    result = bash(LAUNCHER, "workers=3", ASCEND_RT_VISIBLE_DEVICES="4,5")
    assert result.returncode == 2
    assert result.stderr == "error: workers=3 is more than the 2 NPUs of this machine\n"


def test_options_of_training_reach_it_and_a_mistake_leaves_nothing(bash, tmp_path):
    result = bash("scripts/run_standalone_train.sh", "output_dir=run", "--epochs", "many", "lr=1")
    assert result.returncode == 2
    assert result.stdout.startswith("== Training with 1 worker(s)")
    assert "epochs" in result.stdout.splitlines()[-1] and "many" in result.stdout.splitlines()[-1]
    assert result.stderr == ""
    assert not list((tmp_path / "work").iterdir())


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


@pytest.mark.slow
def test_the_main_job_from_training_to_inference(bash, tmp_path):
    result = bash(LAUNCHER, "output_dir=a run", "--log_interval", "5")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    run = tmp_path / "work" / "a run"
    made = {path.name for path in run.iterdir()}
    assert made == {
        *("config.yaml", "metrics.jsonl", "summary.json", "curves.png", "checkpoints", "logs"),
        *("neonext_pico.mindir", "neonext_pico.mindir.json"),
    }
    assert {path.name for path in (run / "logs").iterdir()} == {
        *("worker_0.log", "worker_1.log", "scheduler.log", "msrun.log"),
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
