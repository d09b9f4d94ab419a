"""A job on two machines: two network namespaces with a cable between them (nodes.py), a launcher in each."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.support.paths import ROOT
from tests.support.tiny import TINY

NODES = ROOT / "tests" / "support" / "nodes.py"
WORKER = ROOT / "tests" / "support" / "job_worker.py"
RESULT = {"0": "10 55", "1": "10 110"}  # what an undisturbed run of job_worker.py leaves
RUN = """set -euo pipefail
for part in env options cluster job; do source "$0/scripts/$part.sh"; done
MAX_RESTARTS="$1" RESTART_DELAY=1 RANK_TABLE="$2" WORKERS=default
check_cluster
check_workers
JOB_OPTIONS+=(--node_timeout=4)
shift 2
run_job "$@"
"""


class Nodes:
    """Two machines that run the same command; see nodes.py for what appears in the folder."""

    def __init__(self, folder, environment, command):
        self.folder = folder
        self.begin = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, NODES, folder, *map(str, command)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, *names, seconds=300):
        for name in names:
            while not (self.folder / name).exists():
                assert self.process.poll() is None and time.monotonic() - self.begin < seconds, self.tell()
                time.sleep(0.1)

    def end(self):
        """Exit codes of both nodes, once everything has ended."""
        _, err = self.process.communicate(timeout=600)
        assert err == ""
        assert not self.left()
        return [int((self.folder / f"node_{rank}.code").read_text()) for rank in (0, 1)]

    def kill_node_1(self):
        """The launcher and the supervisor, as a machine that loses its power."""
        launcher = (self.folder / "node_1.pid").read_text()
        supervisors = subprocess.run(["pgrep", "-P", launcher], capture_output=True, text=True, check=True).stdout
        for pid in [launcher, *supervisors.split()]:
            os.kill(int(pid), signal.SIGKILL)

    def out(self, rank):
        return (self.folder / f"node_{rank}.out").read_text()

    def tell(self):
        return "\n".join(path.read_text() for path in self.folder.glob("node_*.out"))

    def left(self):
        found = subprocess.run(["pgrep", "-f", str(self.folder)], capture_output=True, text=True).stdout.split()
        return [pid for pid in found if int(pid) != os.getpid()]

    def kill(self):
        self.process.kill()
        for pid in self.left():
            os.kill(int(pid), signal.SIGKILL)


@pytest.fixture
def start(tmp_path, environment):
    started = []

    def run(*command):
        started.append(Nodes(tmp_path, environment, command))
        return started[-1]

    yield run
    for nodes in started:
        nodes.kill()


@pytest.fixture
def start_workers(start, tmp_path):
    """job_worker.py as one rank on each node, by a rank table, which is faster than msrun."""
    servers = [{"device": [{"device_id": "0", "rank_id": rank}]} for rank in "01"]
    table = tmp_path / "table.json"
    table.write_text(json.dumps({"server_list": servers}))

    def run(way, restarts=0):
        return start("bash", "-c", RUN, ROOT, restarts, table, tmp_path, WORKER, tmp_path, way)

    return run


def test_failure_on_one_node_restarts_both_and_the_result_is_that_of_an_undisturbed_run(start_workers, tmp_path):
    nodes = start_workers("raise", restarts=1)
    assert nodes.end() == [0, 0], nodes.tell()
    assert "error: node 1 has failed with exit code 1: the ranks of this node cannot go on" in nodes.out(0)
    assert "RuntimeError: rank 1 has run out of luck" in nodes.out(1)
    assert {path.stem: path.read_text() for path in tmp_path.glob("*.model")} == RESULT
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {
        f"start-{number}-node-{rank}" for number in (1, 2) for rank in (0, 1)
    }


def test_ranks_of_all_nodes_save_when_one_node_is_told_to_stop(start_workers, tmp_path):
    nodes = start_workers("slow", restarts=1)
    nodes.wait_for("0.ready", "1.ready")
    os.kill(int((tmp_path / "node_1.pid").read_text()), signal.SIGTERM)
    assert nodes.end() == [75, 75], nodes.tell()
    assert {path.stem: path.read_text() for path in tmp_path.glob("*.model")} == {"0": "3 6", "1": "3 12"}


@pytest.mark.parametrize("cable", ["whole", "cut"])
def test_killed_node_ends_the_other(start_workers, tmp_path, cable):
    nodes = start_workers("wait")
    nodes.wait_for("0.ready", "1.ready")
    if cable == "cut":  # so that no farewell of the killed node's system gets through
        (tmp_path / "cut").touch()
        time.sleep(0.5)
    begin = time.monotonic()
    nodes.kill_node_1()
    assert nodes.end() == [76, -signal.SIGKILL], nodes.tell()
    assert time.monotonic() - begin < 40
    assert nodes.out(0).splitlines()[-1] == ("error: node 1 is gone or silent: the ranks of this node cannot go on")


@pytest.mark.slow
def test_two_machines_train_for_real(start, tmp_path):
    """A worker is killed: both machines go on from the checkpoint, update for update. Then a machine is killed."""
    run = tmp_path / "run"
    script = ROOT / "scripts" / "run_distribute_train.sh"
    options = (f"structure={json.dumps(TINY)}", "epochs=100", "log_interval=1", "max_restarts=1", "restart_delay=1")
    nodes = start("bash", script, "workers=1", f"output_dir={run}", *options)
    before = updates_from(nodes, run, EPOCH + 1, EPOCH + 8)
    os.kill(int((run / "logs" / "start-1-node-1" / "rank_1.pid").read_text().split()[0]), signal.SIGKILL)
    nodes.wait_for("run/logs/start-2-node-0/rank_0.beat", seconds=300)
    assert updates_from(nodes, run, EPOCH + 1, EPOCH + 8) == before
    assert "global batch 64 (2 x 32)" in nodes.out(0)
    assert "error: node 1 has failed with exit code 137: the ranks of this node cannot go on" in nodes.out(0)

    begin = time.monotonic()
    nodes.kill_node_1()
    assert nodes.end() == [76, -signal.SIGKILL], nodes.tell()
    assert time.monotonic() - begin < 20


EPOCH = 22  # updates in the digits' recipe


def updates_from(nodes, run, first, last):
    """Loss, accuracy and gradient norm of the updates first to last, once they have been made."""
    while True:
        assert nodes.process.poll() is None and time.monotonic() - nodes.begin < 600, nodes.tell()
        path = run / "metrics.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        found = {
            line["step"]: (line["loss"], line["accuracy"], line["gradient_norm"])
            for line in lines
            if line["event"] == "train" and first <= line["step"] <= last
        }
        if len(found) == last - first + 1:
            return found
        time.sleep(0.2)
