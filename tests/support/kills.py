"""Kills whole jobs at random moments, starts them again, and compares what comes out with an undisturbed twin.

    python -m tests.support.kills FOLDER [--kills 60] [--seed 0] [--jobs train,ranks,export,pack,report]

`train` is a run of one rank, `ranks` one of two through the launcher, of which a rank or the script is killed;
`export`, `pack` and `report` are killed as well. A start that ends before its kill counts for nothing.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from neonext_ms.checkpoint.store import load_checkpoint
from neonext_ms.data import open_source
from tests.support.paths import ROOT
from tests.support.tiny import events

NEONEXT = [sys.executable, "-m", "neonext_ms"]
TRAIN = {
    "config": ROOT / "configs" / "digits.yaml",
    "epochs": 3,
    "batch_size": 64,
    "global_batch": 128,
    "device": "CPU",
}
TRAIN |= {"save_steps": 5, "log_interval": 1, "ema_decay": 0.9, "mixup": 0.5, "resume": "auto"}


class Job:
    """A command that is started until it succeeds.

    Args:
        folder: of its own.
        command: which begins, or goes on where it was killed.
        seconds: about how long a whole start takes.
    """

    def __init__(self, folder: Path, command: list):
        self.folder, self.command, self.kills, self.seconds = folder, [*map(str, command)], 0, 10.0

    def start(self, moment: float | None, rng: random.Random) -> bool:
        """Start it and kill it after `moment` seconds, if it has not ended by then; whether it succeeded."""
        with open(self.folder / "output.txt", "ab") as output:
            process = subprocess.Popen(
                self.command, cwd=self.folder, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
            )  # fmt: skip
        begin = time.monotonic()
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            self.kills += 1
            os.kill(self.victim(process.pid, rng), signal.SIGKILL)
            process.wait()
            self.wait_for_the_rest()
            return False
        assert process.returncode == 0, f"{self.folder}: exit code {process.returncode}, see output.txt there"
        self.seconds = time.monotonic() - begin
        return True

    def victim(self, pid: int, rng: random.Random) -> int:
        return pid

    def wait_for_the_rest(self):
        """Until nothing of the job lives."""

    def disturb(self, kills: int, rng: random.Random):
        """Kill it so often, and let it end then."""
        while self.kills < kills:
            if self.start(rng.uniform(0, self.seconds), rng):
                self.again()
        self.start(None, rng)

    def again(self):
        """Begin anew: it has succeeded before it could be killed often enough."""


class Run(Job):
    """A run of one rank."""

    def __init__(self, folder: Path):
        super().__init__(folder, [*NEONEXT, "train", *(f"--{k}={v}" for k, v in TRAIN.items()), "--output_dir=run"])

    def again(self):
        shutil.rmtree(self.folder / "run")

    def result(self):
        """Weights and state of every checkpoint, to the bit, and what was logged."""
        found = {}
        for path in sorted((self.folder / "run" / "checkpoints").glob("*.ckpt")):
            if not path.name.endswith(".state.ckpt"):
                checkpoint = load_checkpoint(path)
                arrays = {**checkpoint.weights, **(checkpoint.state or {})}
                found[path.name] = {name: value.tobytes() for name, value in arrays.items()}
        logged = events(self.folder / "run", "train", "eval")
        assert (self.folder / "run" / "summary.json").exists()
        assert [p.name for p in (self.folder / "run").rglob(".*") if p.name != ".lock"] == []
        return found, logged


class RunOfTwo(Run):
    """A run of two ranks through the launcher, with the export that follows."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        options = {**TRAIN, "workers": 2, "batch_size": 32, "output_dir": "run"}
        script = ["bash", ROOT / "scripts" / "run_distribute_train.sh"]
        self.command = [*map(str, script), *(f"{key}={value}" for key, value in options.items())]
        self.seconds = 30.0

    def victim(self, pid: int, rng: random.Random) -> int:
        notes = sorted(self.folder.glob("run/logs/*/rank_*.pid"))
        return int(rng.choice(notes).read_text().split()[0]) if notes and rng.random() < 0.7 else pid

    def wait_for_the_rest(self):
        while any(self.folder.glob("run/logs/*/*.pid")) and self._living():
            time.sleep(0.2)

    def _living(self) -> bool:
        command = [sys.executable, "-m", "neonext_ms.launch.left_over", str(self.folder / "run")]
        return bool(subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout)


class Once(Job):
    """A command whose output must be the twin's, byte for byte but for times, with nothing hidden beside it."""

    def __init__(self, folder: Path, command: list, made: str, compared: str):
        super().__init__(folder, command)
        self.made, self.compared = made, compared

    def again(self):
        for path in self.folder.glob(self.made):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def result(self):
        hidden = [path.name for path in self.folder.rglob(".*") if not path.name.endswith(".lock")]
        assert hidden == [], f"left in {self.folder}: {hidden}"
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.folder.glob(self.compared))
        }


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


def make(name: str, folder: Path, run: Path) -> Job:
    """The job of this name in a new folder; `run` is a finished run, for export and report."""
    folder.mkdir(parents=True)
    if name == "train":
        return Run(folder)
    if name == "ranks":
        return RunOfTwo(folder)
    if name == "export":
        checkpoint = next(run.glob("checkpoints/*_best.ckpt"))
        return Once(folder, [*NEONEXT, "export", "--checkpoint", checkpoint, "--output=x.mindir"], "x.*", "x.mindir")
    if name == "report":
        return Once(folder, [*NEONEXT, "report", run, "--output=x.html", "--device=CPU"], "x.html", "x.html")
    images = run.parent.parent / "images"
    if not images.exists():
        image_folder(images)
    command = [*NEONEXT, "pack", f"--data_dir={images}", "--output=packed", "--shard_images=50"]
    return Once(folder, command, "packed", "packed/**/*.mindrecord*")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", default="train,ranks,export,pack,report")
    options = parser.parse_args()
    rng, names = random.Random(options.seed), options.jobs.split(",")
    finished = make("train", options.folder / "finished", Path())
    finished.start(None, rng)
    for i, name in enumerate(names):
        kills = options.kills // len(names) + (i < options.kills % len(names))
        twins = [make(name, options.folder / name / kind, options.folder / "finished" / "run") for kind in "ab"]
        twins[0].start(None, rng)
        twins[1].seconds = twins[0].seconds
        twins[1].disturb(kills, rng)
        if twins[0].result() != twins[1].result():
            sys.exit(f"{name}: after {twins[1].kills} kills, other than the undisturbed twin")
        print(f"{name}: after {twins[1].kills} kills equal to the undisturbed twin", flush=True)


if __name__ == "__main__":
    main()
