"""What each rank is given, and how the supervisors of several nodes find each other."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from neonext_ms.launch.cores import parse_cores, share_cores
from neonext_ms.launch.link import Link
from neonext_ms.launch.ranks import Ranks
from neonext_ms.launch.start import Mistake, Nodes, find_port, rank_table_environments
from tests.support.paths import ROOT

SHOW = """
import json, os
names = ("RANK_TABLE_FILE", "RANK_SIZE", "RANK_ID", "DEVICE_ID")
print(json.dumps({name: os.environ[name] for name in names} | {"CORES": sorted(os.sched_getaffinity(0))}))
"""

# rank.py, killed at the moment when what it has written is to get its name.
KILLED = """
import os, runpy, signal, sys
sys.addaudithook(lambda event, _: event == "os.rename" and os.kill(os.getpid(), signal.SIGKILL))
sys.argv = ["rank.py", sys.argv[1], str(os.getppid()), "", "-c", "pass"]
runpy.run_module("neonext_ms.launch.rank", run_name="__main__")
"""


@pytest.fixture
def table(tmp_path):
    """A rank table of two machines with two devices each, as HCCL's tool writes it."""

    def server(address, ranks):
        devices = [{"device_id": str(i + 4), "device_ip": f"192.1.1.{i}", "rank_id": r} for i, r in enumerate(ranks)]
        return {"server_id": address, "device": devices, "host_nic_ip": "reserve"}

    servers = [server("10.0.0.1", "01"), server("10.0.0.2", "23")]
    path = tmp_path / "hccl.json"
    path.write_text(json.dumps({"version": "1.0", "server_count": "2", "server_list": servers, "status": "completed"}))
    return path


@pytest.fixture
def supervise(tmp_path, environment):
    """Runs supervise.py with a program that shows what a rank is given."""

    def run(*options):
        logs = tmp_path / "logs"
        logs.mkdir()
        program = [sys.executable, "-m", "neonext_ms.launch.supervise"]
        command = [*program, "--logs", logs, *map(str, options), "--", "-c", SHOW]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)

    return run


@pytest.mark.parametrize(("node", "expected"), [(0, [("0", "4"), ("1", "5")]), (1, [("2", "4"), ("3", "5")])])
def test_each_machine_of_a_rank_table_starts_its_own_ranks(table, node, expected):
    found = rank_table_environments(table, node)
    assert [(environment["RANK_ID"], environment["DEVICE_ID"]) for environment in found] == expected


def test_ranks_of_a_rank_table_get_what_hccl_expects(supervise, table, tmp_path):
    usable = sorted(os.sched_getaffinity(0))
    text = table.read_text()
    table.write_text(json.dumps(json.loads(text) | {"server_list": json.loads(text)["server_list"][::-1]}))
    result = supervise(f"--rank_table={table}", f"--bind_cores={usable[-1]}/{usable[0]}")
    assert (result.returncode, result.stderr) == (0, "")
    given = [json.loads((tmp_path / "logs" / f"worker_{rank}.log").read_text()) for rank in (2, 3)]
    common = {"RANK_TABLE_FILE": str(table), "RANK_SIZE": "4"}
    assert given == [
        common | {"RANK_ID": "2", "DEVICE_ID": "4", "CORES": [usable[-1]]},
        common | {"RANK_ID": "3", "DEVICE_ID": "5", "CORES": [usable[0]]},
    ]
    assert json.loads(result.stdout) == given[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: "not JSON",
            "is not a rank table: it needs server_list, with device_id and rank_id for each device",
        ),
        (lambda text: text.replace("rank_id", "rank"), "is not a rank table: it needs server_list"),
        (lambda text: text.replace('"rank_id": "3"', '"rank_id": "2"'), "are 0, 1, 2, 2; expected 0 to 3, each once"),
        (lambda text: json.dumps({"server_list": []}), "has 0 nodes, and this one is said to be node 0 (NODE_RANK)"),
    ],
)
def test_mistake_in_a_rank_table_is_one_line(supervise, table, change, message):
    table.write_text(change(table.read_text()))
    result = supervise(f"--rank_table={table}")
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ") and message in result.stderr


def test_what_a_rank_has_not_finished_to_note_is_not_seen(tmp_path, environment):
    """A supervisor that reads half a note, or one whose name changes then, ends with a traceback."""
    code = subprocess.run([sys.executable, "-c", KILLED, tmp_path], env=environment).returncode
    ranks = Ranks(tmp_path, 0.0)
    ranks.look(0.0)
    assert code == -signal.SIGKILL and not ranks.ranks and not list(tmp_path.rglob("*.pid"))


def test_cores_are_read_as_taskset_reads_them():
    assert parse_cores("0-3,8/4/5-5") == [{0, 1, 2, 3, 8}, {4}, {5}]


def test_equal_parts_of_the_usable_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2, 5, 6, 7})
    assert share_cores("true", 2) == "1,2/5,6"
    assert share_cores("false", 2) == ""
    assert share_cores("1-2/7", 2) == "1-2/7"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("most", "'most' is neither a core nor a range of cores such as 0-3"),
        ("3-1/2", "the range '3-1' is empty"),
        ("1", "1 sets of cores are named for 2 ranks of this machine"),
        ("99999/99999", "core 99999 cannot be used here"),
    ],
)
def test_mistake_in_the_cores_is_one_line(supervise, table, option, message):
    result = supervise(f"--rank_table={table}", f"--bind_cores={option}")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: bind_cores={option}: {message}")
    assert len(result.stderr.splitlines()) == 1


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_free_port_is_found_where_none_is_named():
    nodes = Nodes(1, 0, 2, "127.0.0.1", "")
    with socket.create_server(("127.0.0.1", find_port(nodes))) as taken:
        assert find_port(nodes) not in (0, taken.getsockname()[1])


FOLLOW = """
import sys
from pathlib import Path
from neonext_ms.launch.ranks import Health, Ranks
from neonext_ms.launch.supervise import Supervisor, parse

logs = Path(sys.argv[1])
supervisor = Supervisor(parse(["--logs", str(logs), "--workers=2", "--", "x"]))
supervisor.ranks, supervisor.health, supervisor.expected = Ranks(logs, 0.0), Health(0, 0.0), 2
for rank in (1, 0):
    (logs / f"rank_{rank}.pid").write_text("1 2 host")
    supervisor._look()
    print(supervisor.follower.log)
"""


def test_the_first_rank_is_followed_even_if_another_is_there_before_it(tmp_path):
    done = subprocess.run([sys.executable, "-c", FOLLOW, tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"None\n{tmp_path}/worker_0.log\n", "")


@pytest.fixture
def links():
    """Links of three nodes on this machine; closed at the end."""
    port, made = free_port() - 1, []

    def make(rank, timeout=30):
        made.append(Link(Nodes(3, rank, 1, "127.0.0.1", str(port)), timeout))
        return made[-1]

    yield make
    for link in made:
        link.end(0)


def poll(*links, until):
    end = time.monotonic() + 120
    while not until():
        assert time.monotonic() < end
        for link in links:
            link.poll()
        time.sleep(0.02)


def test_nobody_starts_before_all_nodes_have_come(links):
    second, first = links(2), links(0)
    poll(second, first, until=lambda: len(first.peers) == 1 and first.peers[0].rank == 2)
    with socket.create_connection(first.address) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\nnode 7\nnode 0\nnode x\n")
        poll(second, first, until=lambda: len(first.peers) == 2)
        for _ in range(20):
            second.poll(), first.poll()
        assert not first.ready and not second.ready
        third = links(1)
        poll(first, second, third, until=lambda: all(link.ready for link in (first, second, third)))
    assert {peer.rank for peer in first.peers} == {1, 2}
    assert [link.lost() for link in (first, second, third)] == [None] * 3


def test_failure_of_one_node_reaches_all(links):
    nodes = links(0), links(1), links(2)
    poll(*nodes, until=lambda: all(link.ready for link in nodes))
    nodes[2].end(3)
    poll(*nodes[:2], until=lambda: nodes[0].lost() is not None)
    assert nodes[0].lost() == (2, 3)
    nodes[0].end(76)
    poll(nodes[1], until=lambda: nodes[1].lost() is not None)
    assert nodes[1].lost() == (0, 76)


def test_silent_node_is_lost_and_one_that_has_finished_is_not(links):
    nodes = links(0, timeout=1.5), links(1, timeout=1.5), links(2, timeout=1.5)
    poll(*nodes, until=lambda: all(link.ready for link in nodes))
    nodes[1].end(0)
    poll(nodes[0], until=lambda: nodes[0].lost() is not None)  # nodes[2] beats no more
    assert nodes[0].lost() == (2, -1)


def test_port_of_the_link_in_use_is_told(links):
    first = links(0)
    with pytest.raises(
        Mistake, match=f"port {first.address[1]} of 127.0.0.1, the one after MASTER_PORT, cannot be used"
    ):
        links(0)
