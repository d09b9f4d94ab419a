"""What run_distribute_train.sh makes of its options and surroundings, with a stand-in for `neonext` as the program."""

import json
import os
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.support.paths import ROOT

LAUNCHER = "scripts/run_distribute_train.sh"
CLUSTER = ROOT / "scripts" / "cluster"
PROGRAM = """
import json, os, sys
from pathlib import Path

command, *arguments = sys.argv[1:]
run = Path(arguments[arguments.index("--output_dir") + 1] if command == "train" else ".")
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps({"command": command, "arguments": arguments, "environment": dict(os.environ)}) + "\\n")
if command == "train":
    (run / "config.yaml").touch()
    (run / "checkpoints").mkdir(exist_ok=True)
    (run / "checkpoints" / "tiny_best.ckpt").touch()
    sys.exit(int(os.environ.get("CODE", 0)))
if command == "infer":
    sys.exit(int(os.environ.get("INFER_CODE", 0)))
"""


@pytest.fixture
def stand_in(project, bash, tmp_path):
    """The project with a program that notes how it is called; run(...) gives the result and the calls."""
    (project / "setup.py").write_text("REQUIRES = []\nEXTRAS = {'digits': []}\n")
    for room in ("launch", "runtime"):
        shutil.copytree(ROOT / "neonext_ms" / room, project / "neonext_ms" / room)
    for name in ("errors.py", "files.py"):
        shutil.copy(ROOT / "neonext_ms" / name, project / "neonext_ms" / name)
    (project / "neonext_ms" / "__init__.py").touch()  # a package without it stands behind an installed one
    (project / "neonext_ms" / "__main__.py").write_text(PROGRAM)
    (project / "configs").mkdir()
    for name in ("digits", "other", "imagenet_neonext_t_224"):
        (project / "configs" / f"{name}.yaml").touch()
    calls = tmp_path / "calls.jsonl"

    def run(*arguments, script=LAUNCHER, **variables):
        calls.unlink(missing_ok=True)
        result = bash(script, *arguments, root=project, CALLS=str(calls), **variables)
        return result, [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []

    return run


def test_words_in_the_order_of_the_model_zoo(stand_in, project, tmp_path):
    table, config, checkpoint = tmp_path / "hccl.json", project / "configs" / "other.yaml", tmp_path / "a.ckpt"
    table.write_text(json.dumps({"server_list": [{"device": [{"device_id": "7", "rank_id": "0"}]}]}))
    checkpoint.touch()
    result, calls = stand_in(table, "/data/x", config, checkpoint, "epochs=3", "output_dir=run")
    assert (result.returncode, result.stderr) == (0, "")
    run = str(tmp_path / "work" / "run")
    assert calls[0]["arguments"] == [
        *("--config", str(config), "--output_dir", run, "--data_dir=/data/x", "--epochs=3", f"--resume={checkpoint}")
    ]
    assert calls[0]["environment"]["RANK_TABLE_FILE"] == str(table)
    assert calls[0]["environment"]["DEVICE_ID"] == "7"
    assert [call["command"] for call in calls] == ["train", "export", "infer"]

    result, calls = stand_in("/data/x", config, "workers=1", "output_dir=run2")
    assert calls[0]["arguments"][1::3] == [str(config), "--data_dir=/data/x"]


def test_one_device_takes_the_same_words(stand_in, project):
    words = ("/data/x", project / "configs" / "other.yaml", "workers=2", "epochs=3")
    result, calls = stand_in(*words, script="scripts/run_standalone_train.sh")
    assert result.returncode == 0 and result.stdout.startswith("== Training with 1 worker(s), "), result.stderr
    assert calls[0]["arguments"][1] == str(words[1]) and calls[0]["arguments"][4:] == [
        "--data_dir=/data/x",
        "--epochs=3",
    ]


def test_options_of_the_launcher_stay_with_it(stand_in):
    names = ("hang_timeout", "start_timeout", "exit_timeout", "stop_timeout", "node_timeout", "health_interval")
    own = [*(f"{name}=9" for name in names), "max_restarts=0", "restart_delay=1", "bind_cores=true", "workers=1"]
    result, calls = stand_in(*own, "output_dir=run", "epochs=3")
    assert result.returncode == 0 and calls[0]["arguments"][4:] == ["--epochs=3"], result.stderr


def test_options_are_taken_in_every_form_that_people_write(stand_in):
    given = ("--tensorboard", "epochs=3", "--lr", "0.1", "--min_lr", "-1", "--skip_spikes", "--seed=4", "--sync_bn")
    _, calls = stand_in("workers=1", "output_dir=run", *given)
    taken = ["--tensorboard", "--epochs=3", "--lr=0.1", "--min_lr=-1", "--skip_spikes", "--seed=4", "--sync_bn"]
    assert calls[0]["arguments"][4:] == taken


def test_of_several_nodes_the_first_alone_exports(stand_in, tmp_path):
    table = tmp_path / "hccl.json"
    devices = [{"device": [{"device_id": "0", "rank_id": str(rank)}]} for rank in range(2)]
    table.write_text(json.dumps({"server_list": devices}))
    cluster = {"NNODES": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(two_free_ports())}

    def node(rank):
        return stand_in(f"rank_table={table}", "output_dir=run", NODE_RANK=str(rank), **cluster)

    with ThreadPoolExecutor() as nodes:
        (first, calls), (second, others) = nodes.map(node, range(2))
    assert (first.returncode, second.returncode) == (0, 0), (first.stderr, second.stderr)
    assert sorted(call["command"] for call in max(calls, others, key=len)) == ["export", "infer", "train", "train"]
    assert second.stdout.splitlines()[-1] == "== Done on node 1; node 0 exports"


def two_free_ports():
    """The first of two that follow each other."""
    with socket.socket() as one, socket.socket() as next_one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        next_one.bind(("127.0.0.1", port + 1))
    return port


@pytest.mark.parametrize("npus, workers", [("4,5,6", 3), ("7", 1)])
def test_where_no_number_is_given_every_npu_has_a_worker(environment, npus, workers):
    script = 'for part in env cluster; do source "$0/scripts/$part.sh"; done; check_workers; echo "${JOB_OPTIONS[@]}"'
    command = ["bash", "-c", f'set -euo pipefail; WORKERS=default RANK_TABLE="" JOB_OPTIONS=(); {script}', ROOT]
    result = subprocess.run(
        command, env=environment | {"ASCEND_RT_VISIBLE_DEVICES": npus}, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, f"--workers={workers}\n", "")


@pytest.mark.parametrize("code", [3, 1])
def test_a_held_out_image_that_cannot_be_read_is_no_failure_of_the_job(stand_in, code):
    result, calls = stand_in("workers=1", "output_dir=run", INFER_CODE=str(code))
    assert [call["command"] for call in calls] == ["train", "export", "infer"]
    assert result.returncode == (0 if code == 3 else 1) and ("== Done." in result.stdout) == (code == 3)


def test_time_outs_of_hccl_are_set_unless_the_user_has(stand_in):
    for own, expected in (({"EXEC": "3600"}, ("600", "3600")), ({"CONNECT": "100"}, ("100", "1224"))):
        _, calls = stand_in("workers=1", **{f"HCCL_{name}_TIMEOUT": value for name, value in own.items()})
        given = calls[0]["environment"]
        assert (given["HCCL_CONNECT_TIMEOUT"], given["HCCL_EXEC_TIMEOUT"]) == expected


def test_automatic_resume_begins_and_then_goes_on(stand_in, tmp_path):
    run = tmp_path / "work" / "run"
    result, calls = stand_in("workers=1", "output_dir=run", "resume=auto", CODE="75")
    assert result.returncode == 75
    assert result.stdout.splitlines()[-1] == f"== Go on with the same command and resume={run}"
    assert [call["command"] for call in calls] == ["train"]
    assert calls[0]["arguments"][-1] == "--resume=auto"  # which begins a run where there is none

    result, calls = stand_in("workers=1", "output_dir=run", "resume=auto")
    assert result.returncode == 0
    assert calls[0]["arguments"][-1] == "--resume=auto"
    assert {path.name for path in (run / "logs").iterdir()} == {"start-1", "start-2"}


def test_named_run_is_gone_on_with_in_its_folder(stand_in, tmp_path):
    stand_in("workers=1", "output_dir=run", CODE="1")
    result, calls = stand_in("workers=1", "resume=run", "config=" + str(CLUSTER.parents[1] / "configs" / "digits.yaml"))
    assert result.returncode == 0
    run = str(tmp_path / "work" / "run")
    assert calls[0]["arguments"][2:] == ["--output_dir", run, "--resume=run"]


@pytest.mark.parametrize(("code", "queued"), [(0, []), (2, []), (75, ["requeue 42"])])
def test_slurm_job_is_queued_again_when_it_was_stopped(stand_in, project, tmp_path, code, queued):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "srun").write_text('#!/bin/bash\nshift\nSLURM_NODEID=0 exec "$@"\n')
    (tools / "scontrol").write_text(
        '#!/bin/bash\nif [[ $1 == show ]]; then echo "host-$3"; else echo "$@" >>"$0.log"; fi\n'
    )
    for tool in tools.iterdir():
        tool.chmod(0o755)
    batch = project / "slurm.sbatch"
    text = (CLUSTER / "slurm.sbatch").read_text()
    assert f"bash {LAUNCHER}" in text
    batch.write_text(text.replace("workers=8", "workers=1").replace(f"bash {LAUNCHER}", f"bash {project}/{LAUNCHER}"))
    (tmp_path / "work" / "configs").mkdir(parents=True)
    (tmp_path / "work" / "configs" / "imagenet_neonext_t_224.yaml").touch()
    result, calls = stand_in(
        script="slurm.sbatch",
        PATH=f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        CODE=str(code),
        SLURM_JOB_ID="42",
        SLURM_JOB_NUM_NODES="1",
        SLURM_JOB_NODELIST="a",
    )
    assert result.returncode == code, result.stderr
    assert calls[0]["environment"]["MASTER_ADDR"] == "host-a"
    log = tools / "scontrol.log"
    assert (log.read_text().splitlines() if log.exists() else []) == queued


def test_kubernetes_job_is_valid_and_its_command_runs(stand_in, project, environment, tmp_path):
    service, job = yaml.safe_load_all((CLUSTER / "kubernetes.yaml").read_text())
    template = job["spec"]["template"]["spec"]
    (container,) = template["containers"]
    given = {variable["name"]: variable["value"] for variable in container["env"]}
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert template["subdomain"] == service["metadata"]["name"]
    assert given["MASTER_ADDR"] == f"{job['metadata']['name']}-0.{template['subdomain']}"
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == int(given["NNODES"])
    assert {claim["name"] for claim in container["volumeMounts"]} == {volume["name"] for volume in template["volumes"]}

    calls = tmp_path / "calls.jsonl"
    variables = given | {"NNODES": "1", "JOB_COMPLETION_INDEX": "0", "CALLS": str(calls)}
    run = f"output_dir={tmp_path}/run"
    arguments = [{"workers=8": "workers=1", "output_dir=/shared/runs/t-224": run}.get(a, a) for a in container["args"]]
    assert run in arguments and "workers=1" in arguments
    command = [*container["command"], *arguments]
    result = subprocess.run(command, cwd=project, env=environment | variables, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert "--data_dir=/data/imagenet" in json.loads(calls.read_text().splitlines()[0])["arguments"]
