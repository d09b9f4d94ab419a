"""Kills whole jobs at random moments, starts them again, and compares what comes out with an undisturbed twin.

    python -m tests.support.kills FOLDER [--kills 60] [--seed 0] [--jobs train,ranks,export,pack,report]

`train` is a run of one rank, `ranks` one of two through the launcher; `export`, `pack` and `report` are killed as well.
Half of the kills come at any time, the others just after a file has got or lost a name, where most can go wrong. What
is killed is the command, or one of the processes that it has started; a run is also stopped by other signals. A start
that ends before its kill counts for nothing.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from neonext_ms.checkpoint.store import load_checkpoint, numbered
from neonext_ms.data import open_source
from neonext_ms.launch.processes import identity, state
from tests.support.paths import ROOT
from tests.support.tiny import events

NEONEXT = [sys.executable, "-m", "neonext_ms"]
TRAIN = {"config": ROOT / "configs" / "digits.yaml", "epochs": 3, "batch_size": 64, "global_batch": 128}
TRAIN |= {"device": "CPU", "save_steps": 5, "save_minutes": 0.02, "log_interval": 1, "ema_decay": 0.9, "mixup": 0.5}
TRAIN |= {"num_workers": 1, "resume": "auto"}
MOMENT = 0.02  # seconds after a change in the folder in which the kill comes
GONE = 60.0  # seconds after which nothing of a job may live any more
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STOPPED = {75, 71, 129, 130, 143, *(-number for number in STOPS)}


class Job:
    """A command that is started until it succeeds.

    Args:
        folder: of its own.
        command: which begins, or goes on where it was killed.

    Attributes:
        seconds, changes: how long the last start took that ended by itself, and how often names changed meanwhile.
        kills: so far.
        cut: whether the last start was killed.
    """

    stops = ()  # signals after which it saves and can go on

    def __init__(self, folder: Path, command: list):
        self.folder, self.command, self.kills = folder, [*map(str, command)], 0
        self.seconds, self.changes, self.cut = 0.0, 0, False

    def start(self, rng: random.Random | None = None) -> bool:
        """Start it and, given random numbers, kill it at some moment if it has not ended by then; whether it ended."""
        begin = time.monotonic()
        with open(self.folder / "output.txt", "ab") as output:
            process = subprocess.Popen(
                self.command, cwd=self.folder, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
            )  # fmt: skip
        seconds, changes = float("inf"), float("inf")
        if rng and rng.random() < 0.5:
            seconds = rng.uniform(0.2, 1.0) * self.seconds
        elif rng:
            changes = rng.randint(1, max(self.changes, 1))
        seen = self._follow(process, begin + seconds, changes)
        if process.poll() is None:
            time.sleep(0 if seconds < float("inf") else rng.uniform(0, MOMENT))
            self.cut = not self._kill(process, rng)
            return not self.cut or self.is_done()
        self.cut = False
        assert process.returncode == 0, f"{self.folder}: exit code {process.returncode}, see output.txt there"
        if rng is None:
            self.seconds, self.changes = time.monotonic() - begin, seen
        return True

    def _follow(self, process, end: float, changes: float) -> int:
        """Wait for its end, a time, or so many names that came or went, whose number is returned."""
        names, seen = self._names(), 0
        while process.poll() is None and time.monotonic() < end and seen < changes:
            time.sleep(0.002)
            before, names = names, self._names()
            seen += len(names ^ before)
        return seen

    def _names(self) -> set[str]:
        return {os.path.join(at, name) for at, _, files in os.walk(self.folder) for name in files}

    def _kill(self, process, rng: random.Random) -> bool:
        family = descendants(process.pid)
        number = rng.choice(self.stops) if self.stops and rng.random() < 0.25 else signal.SIGKILL
        victim = rng.choice([*family]) if family and number == signal.SIGKILL and rng.random() < 0.4 else process.pid
        try:
            os.kill(victim, number)
        except ProcessLookupError:  # a child that has just ended
            pass
        code = process.wait(GONE)
        self.kills += 1
        with open(self.folder / "output.txt", "a") as output:
            print(f"== signal {number} to {family.get(victim, 'the command')}: exit code {code}", file=output)
        assert number == signal.SIGKILL or code in STOPPED | {0}, f"{self.folder}: exit code {code} after {number}"
        end = time.monotonic() + GONE
        while left := {pid for pid, known in family.items() if is_alive(pid, known)}:
            assert time.monotonic() < end, f"{self.folder}: the processes {left} live on"
            time.sleep(0.05)
        return code == 0

    def is_done(self) -> bool:
        """Whether a start that was killed had nothing left to do but to end."""
        return False

    def disturb(self, kills: int, rng: random.Random, expected):
        """Kill it so often, and let it end then; an AssertionError if it comes to another result."""
        while True:
            done = self.start(rng if self.kills < kills else None)
            if done:
                assert self.result() == expected, f"{self.folder}: other than the undisturbed twin"
                if self.kills >= kills:
                    return
                self.again()

    def again(self):
        """Begin anew: it has succeeded before it could be killed often enough."""

    def result(self):
        """What is compared."""


class Run(Job):
    """A run of one rank."""

    stops = STOPS

    def __init__(self, folder: Path):
        super().__init__(folder, [*NEONEXT, "train", *(f"--{k}={v}" for k, v in TRAIN.items()), "--output_dir=run"])

    def again(self):
        shutil.rmtree(self.folder / "run")

    def result(self):
        """Weights and state of the best and the last checkpoint, to the bit, and what was logged."""
        folder, found = self.folder / "run" / "checkpoints", {}
        checkpoints = [load_checkpoint(path) for path in numbered(folder)]
        for checkpoint in (checkpoints[-1], load_checkpoint(next(folder.glob("*_best.ckpt")))):
            arrays = {**checkpoint.weights, **(checkpoint.state or {})}
            found[checkpoint.path.name] = {name: value.tobytes() for name, value in arrays.items()}
        assert 1 <= len(checkpoints) <= 3 and (self.folder / "run" / "summary.json").exists()
        assert [p.name for p in (self.folder / "run").rglob(".*") if p.name != ".lock"] == []
        return found, events(self.folder / "run", "train", "eval")


class RunOfTwo(Run):
    """A run of two ranks through the launcher, with the export that follows."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        options = {**TRAIN, "workers": 2, "batch_size": 32, "output_dir": "run"}
        script = ["bash", ROOT / "scripts" / "run_distribute_train.sh"]
        self.command = [*map(str, script), *(f"{key}={value}" for key, value in options.items())]

    def result(self):
        return super().result(), outputs(next((self.folder / "run").glob("*.mindir")))


class Once(Job):
    """A command whose output must be the twin's, with nothing hidden beside it once it has ended by itself.

    Args:
        made: pattern of what it makes.
        read: what of each file of it is compared.
        last: name of the file with which it is complete, and which another start does not overwrite.
    """

    def __init__(self, folder: Path, command: list, made: str, read=Path.read_bytes, last: str | None = None):
        super().__init__(folder, command)
        self.made, self.read, self.last = made, read, last

    def is_done(self):
        return self.last is not None and (self.folder / self.last).exists()

    def again(self):
        for path in self.folder.glob(self.made):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def result(self):
        assert self.cut or list(self.folder.rglob(".*")) == [], f"something is left in {self.folder}"
        paths = [path for made in self.folder.glob(self.made) for path in (made, *made.rglob("*")) if path.is_file()]
        return {str(path.relative_to(self.folder)): self.read(path) for path in sorted(paths)}


def descendants(pid: int) -> dict[int, str]:
    """The processes that a process has started, and those of these, each with what tells it from all others."""
    found = {}
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in map(int, file.read_text().split()):
                found |= {child: identity(child), **descendants(child)}
        except OSError:  # it has just ended
            continue
    return found


def is_alive(pid: int, known: str) -> bool:
    try:
        return identity(pid) == known and state(pid) not in "ZX"
    except OSError:
        return False


def outputs(path: Path) -> bytes:
    """Of an exported file for the same images: the file itself holds the time of its export. Its card says nothing."""
    from neonext_ms.deploy.opening import open_model

    if path.suffix == ".json":
        return b""
    images = np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype(np.float32)
    return open_model(path)(images).tobytes()


def image_folder(folder: Path) -> Path:
    """The built-in digits as image files, with train and val."""
    from PIL import Image

    for split, count in (("train", 300), ("val", 100)):
        source = open_source("digits", None, split)
        for i in range(count):
            path = folder / split / source.class_names[source.labels[i]] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(source.image(i)).save(path)
    return folder


def make(name: str, folder: Path, given: Path) -> Job:
    """The job of this name in a new folder; `given` has a finished run for export and report, and images to pack."""
    folder.mkdir(parents=True)
    if name in ("train", "ranks"):
        return Run(folder) if name == "train" else RunOfTwo(folder)
    if name == "export":
        checkpoint = next(given.glob("run/checkpoints/*_best.ckpt"))
        return Once(
            folder, [*NEONEXT, "export", "--checkpoint", checkpoint, "--output=x.mindir"], "x.*", outputs, "x.mindir"
        )
    if name == "report":
        return Once(
            folder, [*NEONEXT, "report", given / "run", "--output=x.html", "--device=CPU"], "x.*", last="x.html"
        )
    command = [*NEONEXT, "pack", f"--data_dir={given / 'images'}", "--output=packed", "--shard_images=50"]
    return Once(folder, command, "packed")


def compare(name: str, folder: Path, given: Path, kills: int, rng: random.Random):
    """Let a job run undisturbed, and another one of that name disturbed; an AssertionError if they end otherwise."""
    calm, disturbed = (make(name, folder / name / kind, given) for kind in ("calm", "disturbed"))
    calm.start()
    disturbed.seconds, disturbed.changes = calm.seconds, calm.changes
    disturbed.disturb(kills, rng, calm.result())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", default="train,ranks,export,pack,report")
    options = parser.parse_args()
    names = options.jobs.split(",")
    given = options.folder.resolve() / "given"
    given.mkdir(parents=True)
    image_folder(given / "images")
    Run(given).start()
    for i, name in enumerate(names):
        kills = options.kills // len(names) + (i < options.kills % len(names))
        begin = time.monotonic()
        compare(name, given.parent, given, kills, random.Random(f"{options.seed} {name}"))
        seconds = time.monotonic() - begin
        print(f"{name}: after {kills} kills equal to the undisturbed twin ({seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
