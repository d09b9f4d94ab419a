"""Two network namespaces joined by a veth pair, as two machines with a cable between them.

Usage: nodes.py FOLDER COMMAND...: runs COMMAND in both, each with MASTER_ADDR, MASTER_PORT, NNODES and NODE_RANK, and
prints to FOLDER/node_<n>.out. FOLDER/node_<n>.pid is its process id, FOLDER/node_<n>.code its exit code once it ends.
When FOLDER/cut appears, the cable is cut. Needs nothing but Linux: root, or a user who may make namespaces. The
namespaces are gone with their last process.
"""

import ctypes
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
RTM_NEWLINK, RTM_NEWADDR = 16, 20
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 1, 4, 0x200, 0x400
IFLA_IFNAME, IFLA_LINKINFO, IFLA_NET_NS_PID, IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 3, 18, 19, 1, 2, 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFF_UP = 1
ADDRESSES = ("10.77.0.1", "10.77.0.2")


def unshare(flags: int):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags):
        raise OSError(ctypes.get_errno(), "this machine lets its user make no namespace of this kind")


def become_root():
    """In a user namespace of our own, where a user who is not root may make network namespaces."""
    user, group = os.getuid(), os.getgid()
    unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def link(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return struct.pack("BxHiII", socket.AF_UNSPEC, 0, index, flags, change)


def ask_kernel(kind: int, flags: int, body: bytes):
    """Send one rtnetlink request and wait for its acknowledgement."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        header = struct.pack("IHHII", 16 + len(body), kind, NLM_F_REQUEST | NLM_F_ACK | flags, 1, 0)
        kernel.send(header + body)
        if error := struct.unpack_from("i", kernel.recv(4096), 16)[0]:
            raise OSError(-error, os.strerror(-error))


def lay_cable(pid: int):
    """A veth pair: "cable" here and in the namespace of a process."""
    name = attribute(IFLA_IFNAME, b"cable\0")
    peer = attribute(VETH_INFO_PEER, link() + name + attribute(IFLA_NET_NS_PID, struct.pack("I", pid)))
    info = attribute(IFLA_INFO_KIND, b"veth") + attribute(IFLA_INFO_DATA, peer)
    ask_kernel(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, link() + name + attribute(IFLA_LINKINFO, info))


def switch(name: str, up: bool):
    ask_kernel(RTM_NEWLINK, 0, link(socket.if_nametoindex(name), IFF_UP if up else 0, IFF_UP))


def set_up(address: str):
    packed = socket.inet_aton(address)
    body = struct.pack("BBBBI", socket.AF_INET, 24, 0, 0, socket.if_nametoindex("cable"))
    body += attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)
    ask_kernel(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body)
    switch("lo", True)
    switch("cable", True)


def run_node(rank: int, folder: Path, command: list[str]):
    set_up(ADDRESSES[rank])
    job = {"MASTER_ADDR": ADDRESSES[0], "MASTER_PORT": "8118", "NNODES": "2", "NODE_RANK": str(rank)}
    with open(folder / f"node_{rank}.out", "wb") as output:
        node = subprocess.Popen(command, env=os.environ | job, stdout=output, stderr=output, start_new_session=True)
    (folder / f"node_{rank}.pid").write_text(str(node.pid))
    while node.poll() is None:
        if rank == 1 and (folder / "cut").exists():  # the other node keeps its address, but nothing gets through
            switch("cable", False)
        time.sleep(0.1)
    (folder / f"node_{rank}.code").write_text(str(node.returncode))


def main():
    folder, command = Path(sys.argv[1]), sys.argv[2:]
    if os.getuid() != 0:
        become_root()
    unshare(CLONE_NEWNET)
    here, there = socket.socketpair()
    if (other := os.fork()) == 0:
        unshare(CLONE_NEWNET)
        there.send(b".")
        there.recv(1)
        run_node(1, folder, command)
        there.recv(1)  # a cable with one end is none: node 0 would lose its address
        return
    here.recv(1)
    lay_cable(other)
    here.send(b".")
    run_node(0, folder, command)
    here.send(b".")
    os.waitpid(other, 0)


if __name__ == "__main__":
    main()
