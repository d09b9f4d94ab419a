"""Ways to start the ranks of this node: msrun, a rank table, or a single process; and the ports that msrun needs."""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

RANK = str(Path(__file__).with_name("rank.py"))


class Mistake(Exception):
    """Something that the user asked for cannot be done; one line that says what and how to mend it."""


@dataclass(frozen=True)
class Nodes:
    """The machines of a job and this one among them.

    Args:
        count: of machines.
        rank: of this one, 0..count-1; node 0 runs MindSpore's scheduler.
        workers: ranks on each machine.
        address: of node 0.
        port: of the scheduler on node 0; "" for a free one, with a single node.
    """

    count: int
    rank: int
    workers: int
    address: str
    port: str


def resolve(address: str, seconds: float) -> str:
    """The IPv4 address of a host; its name may be new to the name server, so that it is asked for some seconds."""
    end = time.monotonic() + seconds
    while True:
        try:
            return socket.gethostbyname(address)
        except OSError as error:
            if time.monotonic() > end:
                raise Mistake(f"MASTER_ADDR={address} is no host that is known here ({error.strerror})") from None
            time.sleep(1)


def find_port(nodes: Nodes) -> int:
    """The scheduler's port: a free one where none is named; a named one is checked where the scheduler will use it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what just ended does not count
        try:
            if nodes.rank == 0:
                probe.bind((nodes.address, int(nodes.port or 0)))
                return probe.getsockname()[1]
        except OSError as error:
            raise Mistake(
                f"port {nodes.port or 0} of {nodes.address} cannot be used here ({error.strerror}): "
                f"choose another MASTER_PORT, or end what uses it"
            ) from None
    return int(nodes.port)


def start_msrun(nodes: Nodes, port: int, logs: Path, rank_arguments: list[str]):
    """Let msrun start the ranks of this node, and on node 0 the scheduler. It ends at once and leaves them to us."""
    command = [sys.executable, "-m", "mindspore.parallel.cluster.run", "--join=False"]
    command += [f"--worker_num={nodes.count * nodes.workers}", f"--local_worker_num={nodes.workers}"]
    command += [f"--master_addr={nodes.address}", f"--master_port={port}", f"--log_dir={logs}"]
    if nodes.count > 1:
        command.append(f"--node_rank={nodes.rank}")
    _spawn([*command, RANK, *rank_arguments], logs / "msrun.log", {})


def start_single(logs: Path, rank_arguments: list[str]):
    """The only rank of a job needs neither scheduler nor msrun."""
    _spawn([sys.executable, RANK, *rank_arguments], logs / "worker_0.log", {})


def start_rank_table(table: Path, nodes: Nodes, logs: Path, rank_arguments: list[str]):
    """Start a rank for each device that the table gives this node, with what HCCL expects in the environment."""
    before, cores, after = rank_arguments[:2], rank_arguments[2].split("/"), rank_arguments[3:]
    for i, environment in enumerate(rank_table_environments(table, nodes.rank)):
        log = logs / f"worker_{environment['RANK_ID']}.log"
        _spawn([sys.executable, RANK, *before, cores[i % len(cores)], *after], log, environment)


def rank_table_environments(table: Path, node: int) -> list[dict[str, str]]:
    """RANK_TABLE_FILE, RANK_SIZE, RANK_ID and DEVICE_ID of each rank that a table (version 1.0) gives a node.

    Raises:
        Mistake: the file is not a rank table, or has no such node.
    """
    try:
        servers = json.loads(table.read_text())["server_list"]
        devices = [[(str(d["rank_id"]), str(d["device_id"])) for d in server["device"]] for server in servers]
    except OSError as error:
        raise Mistake(f"cannot read the rank table {table} ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise Mistake(
            f"{table} is not a rank table: it needs server_list, with device_id and rank_id for each device"
        ) from None
    ranks = sorted(rank for server in devices for rank, _ in server)
    if ranks != sorted(map(str, range(len(ranks)))):
        raise Mistake(f"the ranks in {table} are {', '.join(ranks)}; expected 0 to {len(ranks) - 1}, each once")
    if not 0 <= node < len(devices):
        raise Mistake(f"{table} has {len(devices)} nodes, and this one is said to be node {node} (NODE_RANK)")
    common = {"RANK_TABLE_FILE": str(table.resolve()), "RANK_SIZE": str(len(ranks))}
    return [common | {"RANK_ID": rank, "DEVICE_ID": device} for rank, device in devices[node]]


def _spawn(command: list[str], log: Path, environment: dict[str, str]):
    """In a session of its own, so that Ctrl-C on the terminal does not reach it."""
    with open(log, "ab") as output:
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            start_new_session=True,
        )
