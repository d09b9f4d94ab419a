"""Runs one start of a job on this node: starts the ranks, follows them, and ends them all when one fails.

Exit codes: 0 every rank succeeded; those of `runtime.exit_codes`; 128 + n stopped by signal n without a checkpoint;
otherwise that of the first rank that failed (128 + n: killed by signal n).
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from neonext_ms.launch import processes, start
from neonext_ms.launch.cores import share_cores
from neonext_ms.launch.link import Link
from neonext_ms.launch.ranks import Health, Rank, Ranks
from neonext_ms.launch.screen import NOISE, SCREEN, Follower, say, say_error, warn
from neonext_ms.runtime.exit_codes import ENDED_EARLY, HUNG, MISTAKE, NODE_LOST, STOPPED
from neonext_ms.runtime.ranks import SIMULATION
from neonext_ms.runtime.signals import STOPS

# From job.sh, which has heard a second signal to stop. Any number of others is one request: a cluster may signal this
# process as well as the script, which passes its own on whenever it gets to it.
STOP_NOW = signal.SIGRTMIN + 1
OWN_WORDS = 2.0  # seconds for the other ranks to tell their own errors once one has failed
KILL_SECONDS = 30.0  # for processes to end after SIGKILL, which they do at once unless they wait inside a driver
POLL = 0.2


class Supervisor:
    """One start of a job. Times are seconds; see `options`."""

    def __init__(self, options):
        self.options = options
        self.logs: Path = options.logs
        self.parent = os.getppid()
        self.signal: int | None = None  # that told to stop
        self.at_once = False
        self.follower = Follower()
        self.link: Link | None = None
        numbers = [*STOPS, STOP_NOW]
        if options.preempt_signal:  # some clusters send it to every process
            numbers.append(signal.Signals[options.preempt_signal])
        for number in numbers:
            signal.signal(number, self._hear)

    def _hear(self, number: int, _):
        self.at_once |= number == STOP_NOW
        self.signal = self.signal or number

    def run(self) -> int:
        """Returns the exit code of the start."""
        processes.adopt_orphans()
        options, code = self.options, MISTAKE
        address = start.resolve(options.master_addr, options.node_timeout)
        nodes = start.Nodes(options.nnodes, options.node_rank, options.workers, address, options.master_port)
        if nodes.count > 1:
            self.link = Link(nodes, options.node_timeout)
        try:
            code = self._join() or self._start_and_watch(nodes)
        finally:
            left = processes.kill_descendants(KILL_SECONDS)
            if self.link:
                self.link.end(code)
            for note in self.logs.glob("*.pid"):
                if int(note.read_text().split()[0]) in left:
                    say_error(f"{note.stem.replace('_', ' ')} cannot be killed: it waits inside a driver")
                else:
                    note.unlink()
        self.follower.show()
        SCREEN.finish()
        return code

    def _join(self) -> int:
        """Wait for the other nodes; returns an exit code if that comes to nothing."""
        end = time.monotonic() + self.options.start_timeout
        if self.link:
            say("== Waiting for the other nodes at {}:{}".format(*self.link.address))
        while self.link and not self.link.ready:
            if self._is_told():
                return 128 + (self.signal or signal.SIGTERM)
            if time.monotonic() > end:
                say_error(f"not all {self.options.nnodes} nodes have come in {self.options.start_timeout:g} s")
                return NODE_LOST
            self.link.poll()
            time.sleep(POLL)
        return 0

    def _is_told(self) -> bool:
        """To stop, by a signal or by the end of the script that started this."""
        return self.signal is not None or os.getppid() != self.parent

    def _start_and_watch(self, nodes: start.Nodes) -> int:
        begin = time.monotonic()
        self.ranks = Ranks(self.logs, begin)
        self.health = Health(self.options.health_interval, begin)
        self._start(nodes)
        return self._watch()

    def _start(self, nodes: start.Nodes):
        options = self.options
        self.expected = options.workers
        try:
            if options.rank_table:
                self.expected = len(start.rank_table_environments(options.rank_table, nodes.rank))
            cores = share_cores(options.bind_cores, self.expected)
        except ValueError as error:
            raise start.Mistake(f"bind_cores={options.bind_cores}: {error}") from None
        arguments = [str(self.logs), str(os.getpid()), cores, *options.arguments]
        if options.rank_table:
            start.start_rank_table(options.rank_table, nodes, self.logs, arguments)
        elif options.nnodes * options.workers == 1:
            start.start_single(self.logs, arguments)
        else:
            start.start_msrun(nodes, start.find_port(nodes), self.logs, arguments)
            if os.environ.get(SIMULATION):
                self.expected = 1  # of a simulated job msrun starts one rank

    def _watch(self) -> int:
        ended_first = None  # when the first rank had ended with 0 while others went on
        while True:
            self._look()
            if self._is_told():
                return self._stop()
            ranks = self.ranks
            if failed := next((r for r in self._members() if r.code), None):
                return self._fail(failed)
            if ranks.starter_code:
                return self._fail_start(ranks.starter_code)
            if len(ranks.ranks) == self.expected and not ranks.living:
                return self._end()
            if lost := self.link and self.link.lost():
                return self._end_lost(*lost)
            if early := self._ended_early():
                ended_first = ended_first or ranks.now
                # A rank that gives signs of life says when its work is done; for others only time can tell.
                if early.last or ranks.now - ended_first > self.options.exit_timeout:
                    return self._end_early(early)
            if hung := ranks.hung(self.options.start_timeout, self.options.hang_timeout):
                return self._end_hung(hung)
            time.sleep(POLL)

    def _end(self) -> int:
        if early := next((r for r in self.ranks.ranks if r.last and not r.finished), None):
            return self._end_early(early)
        # It serves the ranks of other nodes as well, and ends by itself after the last of them.
        end = time.monotonic() + self.options.exit_timeout
        while (scheduler := self.ranks.scheduler) and scheduler.code is None and time.monotonic() < end:
            time.sleep(POLL / 2)
            self._look()
        return 0

    def _look(self):
        self.ranks.look(time.monotonic())
        if self.link:
            self.link.poll()
        if self.follower.log is None and len(self.ranks.ranks) == self.expected:  # else it might not be the first
            self.follower.log = min(self.ranks.ranks, key=lambda rank: int(rank.name.split()[1])).log
        self.follower.show()
        if line := self.health.line(self.ranks):
            say(f"== {line}")

    def _members(self) -> list[Rank]:
        return [*self.ranks.ranks, *([self.ranks.scheduler] if self.ranks.scheduler else [])]

    def _ended_early(self) -> Rank | None:
        """A rank, or the scheduler, that has ended with 0 while others go on, and has not said that it is done."""
        return next((r for r in self._members() if r.code == 0 and not r.finished and self.ranks.living), None)

    def _await_ranks(self, seconds: float, until=lambda: False):
        """Let the ranks go on for so long, or until all have ended or `until` holds."""
        end = time.monotonic() + seconds
        while self.ranks.living and time.monotonic() < end and not until():
            time.sleep(POLL / 2)
            self._look()

    def _stop(self) -> int:
        """SIGTERM for the ranks, which save a checkpoint; what is left after a time, or a second signal, is killed."""
        warn("== Stopping the workers (Ctrl-C again: at once)")
        self.ranks.signal(signal.SIGTERM)
        self._await_ranks(self.options.stop_timeout, until=lambda: self.at_once)
        saved = self.ranks.ranks and all(rank.code == STOPPED for rank in self.ranks.ranks)
        return STOPPED if saved else 128 + (self.signal or signal.SIGTERM)

    def _fail(self, rank: Rank) -> int:
        code = rank.code
        # Ranks that were told to stop do so together, and each of them may still be saving.
        seconds = self.options.stop_timeout if code == STOPPED else OWN_WORDS
        self._await_ranks(seconds, until=lambda: self.at_once)
        self._last_lines(rank.log)
        for other in self.ranks.living:
            if processes.state(other.pid) == "T":  # the failed rank may only have grown tired of waiting
                say_error(f"the process of {other.name} is stopped (SIGSTOP)")
        if code == STOPPED:
            warn(f"== {rank.name} was told to stop and has saved: the job ends and can be resumed")
        elif code > 128:
            say_error(f"{rank.name} was killed by signal {code - 128}, see {rank.log}")
        elif code != MISTAKE:  # which the rank has told in one line
            say_error(f"{rank.name} stopped with exit code {code}, see the lines above and {rank.log}")
        return code

    def _fail_start(self, code: int) -> int:
        written = [log for log in sorted(self.logs.glob("*.log")) if log.stat().st_size]
        for log in written[:2]:
            self._last_lines(log)
        say_error(f"the ranks could not be started (exit code {code}), see the lines above and {self.logs}")
        return code

    def _end_early(self, rank: Rank) -> int:
        self._last_lines(rank.log)
        told = f" at update {rank.update}" if rank.update is not None else ""
        say_error(f"{rank.name} ended with exit code 0{told} before the job was done, see {rank.log}")
        return ENDED_EARLY

    def _end_hung(self, rank: Rank) -> int:
        self._last_lines(rank.log)
        seconds = self.options.hang_timeout if rank.last else self.options.start_timeout
        told = f"since update {rank.update}" if rank.update is not None else "before its first update"
        why = ", its process is stopped (SIGSTOP)" if processes.state(rank.pid) == "T" else ""
        say_error(f"{rank.name} has shown no sign of life for {seconds:g} s {told}{why}, see {rank.log}")
        return HUNG

    def _end_lost(self, node: int, code: int) -> int:
        if code in (STOPPED, MISTAKE):  # the ranks here have been told the same, and may still be saving
            self._await_ranks(self.options.stop_timeout, until=lambda: self.at_once)
            if all(rank.code == code for rank in self.ranks.ranks):
                return code
        what = f"has failed with exit code {code}" if code >= 0 else "is gone or silent"
        say_error(f"node {node} {what}: the ranks of this node cannot go on")
        return NODE_LOST

    def _last_lines(self, log: Path):
        """The end of a log, unless it has been followed."""
        if log == self.follower.log or not log.exists():
            return
        lines = log.read_text(errors="replace").splitlines()
        for line in [line for line in lines if not NOISE.search(line)][-20:]:
            warn(line)


def parse(arguments: list[str]):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--logs", type=Path, required=True)
    for name, default in (("workers", 1), ("nnodes", 1), ("node_rank", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--master_addr", default="127.0.0.1")
    parser.add_argument("--master_port", default="")
    parser.add_argument("--rank_table", type=Path)
    parser.add_argument("--bind_cores", default="false")
    parser.add_argument("--preempt_signal")
    times = (("start", 1800), ("hang", 600), ("exit", 60), ("stop", 30), ("node", 30))
    for name, default in times:
        parser.add_argument(f"--{name}_timeout", type=float, default=default)
    parser.add_argument("--health_interval", type=float, default=60)
    parser.add_argument("arguments", nargs="+")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        sys.exit(Supervisor(parse(sys.argv[1:])).run())
    except start.Mistake as mistake:
        say_error(str(mistake))
        sys.exit(MISTAKE)
