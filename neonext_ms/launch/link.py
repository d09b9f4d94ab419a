"""The supervisors of a job on several nodes, joined so that each learns at once when another one's ranks have failed.

Node 0 listens on the port after MASTER_PORT; the others connect. Every start of a job joins anew, and no node starts
its ranks before all have joined, so that no rank meets the scheduler of a start that has failed elsewhere. A line is a
message: "node <rank>" to join, "go", "end <code>", and an empty line every second as a sign of life.
"""

import socket
import time
from dataclasses import dataclass

from neonext_ms.launch.start import Mistake, Nodes

BEAT = 1.0  # seconds between signs of life


@dataclass
class Peer:
    """The other end of a connection.

    Args:
        connection: non-blocking.
        heard: when its last message came.
        rank: of the node; -1 until it has said.
        code: exit code of the start on that node, once that has ended; -1 if the connection just broke.
    """

    connection: socket.socket
    heard: float
    rank: int = -1
    code: int | None = None
    rest: bytes = b""

    def receive(self, now: float) -> list[str]:
        """Messages that have come."""
        data = b""
        try:
            while chunk := self.connection.recv(4096):
                data += chunk
            self.code = -1 if self.code is None else self.code  # closed by the other side
        except BlockingIOError:
            pass
        except OSError:
            self.code = -1 if self.code is None else self.code
        if data:
            self.heard = now
        *lines, self.rest = (self.rest + data).split(b"\n")
        return [line.decode(errors="replace") for line in lines if line]

    def send(self, message: str):
        try:
            self.connection.send(f"{message}\n".encode())
        except OSError:  # seen as silence, or as the end of the connection, by `receive`
            return


class Link:
    """This node's connections to the other supervisors.

    Args:
        nodes: the machines of the job.
        timeout: seconds of silence after which a node counts as lost.

    Raises:
        Mistake: node 0 cannot listen on its port.
    """

    def __init__(self, nodes: Nodes, timeout: float):
        self.nodes, self.timeout = nodes, timeout
        self.address = (nodes.address, int(nodes.port) + 1)
        self.ready = False
        self.peers: list[Peer] = []
        self.listener = None
        self._told = 0.0
        if nodes.rank == 0:
            try:
                self.listener = socket.create_server(self.address)
            except OSError as error:
                raise Mistake(
                    f"port {self.address[1]} of {nodes.address}, the one after MASTER_PORT, cannot be used here "
                    f"({error.strerror}): choose another MASTER_PORT, or end what uses it"
                ) from None
            self.listener.setblocking(False)

    def poll(self):
        """Join, listen and give a sign of life; to be called several times a second."""
        now = time.monotonic()
        if not self.ready:
            self._accept(now) if self.listener else self._connect(now)
        for peer in self.peers:
            for message in peer.receive(now):
                self._hear(peer, message)
        if not self.ready and self.listener:
            self.peers = [peer for peer in self.peers if peer.code is None]  # gone before all had come
            if {peer.rank for peer in self.peers} >= set(range(1, self.nodes.count)):
                self._begin()
        if now - self._told > BEAT:
            self._told = now
            self._send("")

    def lost(self) -> tuple[int, int] | None:
        """(rank, exit code) of a node whose start has ended other than well, code -1 if it is silent or gone."""
        now = time.monotonic()
        for peer in self.peers if self.ready else []:
            if peer.code:
                return peer.rank, peer.code
            if peer.code is None and now - peer.heard > self.timeout:
                return peer.rank, -1
        return None

    def end(self, code: int):
        """Tell the others how the start has ended here."""
        self._send(f"end {code}")
        for connection in [self.listener, *(peer.connection for peer in self.peers)]:
            if connection:
                connection.close()

    def _accept(self, now: float):
        try:
            while True:
                connection, _ = self.listener.accept()
                connection.setblocking(False)
                self.peers.append(Peer(connection, now))
        except BlockingIOError:
            return

    def _connect(self, now: float):
        if self.peers and self.peers[0].code is None:
            return
        try:
            connection = socket.create_connection(self.address, timeout=BEAT)
        except OSError:  # node 0 is not there yet
            self.peers = []
            return
        connection.setblocking(False)
        self.peers = [Peer(connection, now, rank=0)]
        self._send(f"node {self.nodes.rank}")

    def _begin(self):
        self.ready = True
        self.listener.close()  # the next start is to find no one listening here
        self.listener = None
        for peer in self.peers:
            if peer.rank < 0:  # never said who it is
                peer.connection.close()
        self.peers = [peer for peer in self.peers if peer.rank > 0]
        self._send("go")

    def _hear(self, peer: Peer, message: str):
        word, _, number = message.partition(" ")
        if word == "go" and peer.rank == 0:
            self.ready = True
        elif word == "node" and self.listener and number.isdecimal() and 0 < int(number) < self.nodes.count:
            peer.rank = int(number)
        elif word == "end" and number.isdecimal():
            peer.code = int(number)

    def _send(self, message: str):
        for peer in self.peers:
            if peer.code is None:
                peer.send(message)
