"""The ranks of this node while they run: process, exit code, and the last sign of life of each."""

import os
from dataclasses import dataclass
from pathlib import Path

from neonext_ms.launch import processes
from neonext_ms.runtime import heartbeat
from neonext_ms.runtime.heartbeat import Beat


@dataclass
class Rank:
    """One rank, or MindSpore's scheduler.

    Args:
        name: "rank 3" or "scheduler".
        pid: of its process.
        log: what it printed.
        beat: file in which it tells its update.
        code: its exit code as the shell gives it, 137 after signal 9; None while it runs.
        last: newest sign of life in `beat`.
        changed: when it came.
    """

    name: str
    pid: int
    log: Path
    beat: Path
    code: int | None = None
    last: Beat | None = None
    changed: float = 0.0

    @property
    def finished(self) -> bool:
        """It has done all its work, by its own word."""
        return self.last is not None and self.last.done

    @property
    def update(self) -> int | None:
        """The number of updates it has made, if it told."""
        return self.last.update if self.last and not self.last.done else None

    def look(self, now: float):
        """Take note of its sign of life."""
        beat = heartbeat.read(self.beat)
        if beat and beat != self.last:
            self.last, self.changed = beat, now


class Ranks:
    """All processes of one start on this node.

    Args:
        logs: folder in which they note their process ids.
        now: time of the start, s.
    """

    def __init__(self, logs: Path, now: float):
        self.logs = logs
        self.now = now
        self.ranks: list[Rank] = []
        self.scheduler: Rank | None = None
        self.starter_code: int | None = None  # of msrun, or of a rank that ended before it noted its process id
        self._codes: dict[int, int] = {}
        self._known: set[str] = set()

    @property
    def living(self) -> list[Rank]:
        return [rank for rank in self.ranks if rank.code is None]

    def look(self, now: float):
        """Find new processes, collect the exit codes of ended ones, and take note of signs of life."""
        self.now = now
        self._reap()
        for note in sorted(self.logs.glob("*.pid")):
            if note.name not in self._known:
                self._known.add(note.name)
                self._add(note.stem, int(note.read_text().split()[0]))
        for rank in [*self.ranks, *([self.scheduler] if self.scheduler else [])]:
            rank.look(now)
            if rank.code is None and rank.pid in self._codes:
                rank.code = self._codes.pop(rank.pid)
        self.starter_code = next(filter(None, self._codes.values()), None)

    def _add(self, role: str, pid: int):
        if role == "scheduler":
            self.scheduler = Rank(role, pid, self.logs / "scheduler.log", self.logs / "scheduler.beat")
        else:
            number = role.removeprefix("rank_")
            log = self.logs / f"worker_{number}.log"
            self.ranks.append(Rank(f"rank {number}", pid, log, self.logs / f"{role}.beat", changed=self.now))

    def _reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            self._codes[pid] = code if code >= 0 else 128 - code

    def hung(self, start_timeout: float, hang_timeout: float) -> Rank | None:
        """A rank to blame when one has shown no sign of life for too long, else None.

        The others wait for the hung one and so fall silent with it: the blame is on one that a signal has stopped, or
        on the one with the fewest updates.
        """
        waiting = [rank for rank in self.living if not rank.finished]
        if all(self.now - rank.changed <= (hang_timeout if rank.last else start_timeout) for rank in waiting):
            return None
        return min(waiting, key=lambda rank: (processes.state(rank.pid) != "T", rank.update or 0))

    def signal(self, number: int):
        for rank in self.living:
            os.kill(rank.pid, number)


class Health:
    """The line that tells now and then how the ranks are."""

    def __init__(self, interval: float, now: float):
        self.interval = interval
        self.time, self.update = now, 0

    def line(self, ranks: Ranks) -> str | None:
        """The line, or None when it is not yet time for one."""
        seconds = ranks.now - self.time
        if not self.interval or seconds < self.interval or not ranks.living:
            return None
        updates = [rank.update for rank in ranks.living if rank.update is not None]
        parts = [f"{len(ranks.living)} of {len(ranks.ranks)} ranks alive"]
        parts += [f"{rank.name} is stopped" for rank in ranks.living if processes.state(rank.pid) == "T"]
        if updates:
            spread = f"{min(updates)}" if min(updates) == max(updates) else f"{min(updates)} to {max(updates)}"
            parts.append(f"update {spread}, {(min(updates) - self.update) / seconds:.2f} a second")
            self.update = min(updates)
        parts.append("host memory {:.1f} of {:.1f} GB".format(*processes.memory()))
        self.time = ranks.now
        return "health: " + "; ".join(parts)
