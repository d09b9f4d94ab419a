"""scripts/job.sh: several ranks under msrun, followed, explained when they fail, stopped when interrupted."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).parent / "worker.py"
RUN = 'set -euo pipefail; source "$0/scripts/env.sh"; source "$0/scripts/job.sh"; run_ranks "$@"; echo after the job'


class Job:
    """run_ranks in a shell of its own, with worker.py as the program."""

    def __init__(self, folder, environment, way, workers=2):
        self.folder, self.logs = folder, folder / "logs"
        self.logs.mkdir()
        self.begin = time.monotonic()
        self.process = subprocess.Popen(
            ["bash", "-c", RUN, ROOT, str(workers), self.logs, WORKER, folder, way],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Ctrl-C may be ignored where the tests run, and a shell cannot undo that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def wait_for(self, name):
        while not (self.folder / name).exists():
            assert self.process.poll() is None and time.monotonic() - self.begin < 60, self.process.communicate()
            time.sleep(0.1)

    def end(self):
        """Exit code, stdout and stderr, once every worker has ended; msrun's scheduler too, which sleeps a minute."""
        out, err = self.process.communicate(timeout=45)
        assert not self.left(), "processes of the job are left"
        return self.process.returncode, out, err

    def left(self):
        found = subprocess.run(["pgrep", "-f", f"{WORKER} {self.folder} "], capture_output=True, text=True)
        return found.stdout.split()

    def kill(self):
        self.process.kill()
        for pid in self.left():
            os.kill(int(pid), signal.SIGKILL)


@pytest.fixture
def start(tmp_path, environment):
    jobs = []

    def run(*arguments, **options):
        jobs.append(Job(tmp_path, environment, *arguments, **options))
        return jobs[-1]

    yield run
    for job in jobs:
        job.kill()


@pytest.mark.parametrize("workers", [1, 2])
def test_success_shows_rank_0_without_the_noise(start, workers):
    job = start("succeed", workers=workers)
    code, out, err = job.end()
    assert (code, err) == (0, "")
    assert out.splitlines() == ["hello from rank 0", "bye from rank 0", "after the job"]
    logs = [job.logs / f"worker_{rank}.log" for rank in range(workers)]
    assert [f"bye from rank {rank}" in log.read_text() for rank, log in enumerate(logs)] == [True] * workers


def test_rank_that_dies_is_named_with_its_last_lines_and_code(start):
    job = start("raise")
    code, out, err = job.end()
    assert code == 1
    assert out.splitlines() == ["hello from rank 0"]
    *lines, verdict = err.splitlines()
    assert lines[0] == "hello from rank 1"
    assert lines[-1] == "RuntimeError: rank 1 has run out of luck"
    assert "Failed to connect" not in err
    assert verdict == f"error: rank 1 stopped with exit code 1, see the lines above and {job.logs}/worker_1.log"


def test_rank_0_is_not_repeated_when_it_dies(start):
    job = start("raise-first")
    code, out, err = job.end()
    assert code == 1
    assert out.splitlines()[-1] == "RuntimeError: rank 0 has run out of luck"
    assert err == f"error: rank 0 stopped with exit code 1, see the lines above and {job.logs}/worker_0.log\n"


def test_mistake_of_the_user_is_told_once(start):
    code, _, err = start("mistake").end()
    assert code == 2
    assert err.splitlines()[1:] == ["neonext: error: batch_size is wrong"]


def test_killed_rank_gives_its_signal(start):
    job = start("die")
    code, _, err = job.end()
    assert code == 128 + signal.SIGKILL
    assert err.splitlines()[-1] == f"error: rank 1 was killed by signal 9, see {job.logs}/worker_1.log"


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_interruption_stops_every_worker(start, sent, code):
    job = start("wait")
    job.wait_for("0.ready")
    job.wait_for("1.ready")
    interrupted = time.monotonic()
    os.killpg(job.process.pid, sent)
    assert job.end()[0] == code
    assert time.monotonic() - interrupted < 5


def test_interrupted_workers_may_end_by_themselves(start):
    job = start("last-words")
    job.wait_for("0.ready")
    job.wait_for("1.ready")
    os.killpg(job.process.pid, signal.SIGINT)
    code, out, _ = job.end()
    assert code == 130
    assert out.splitlines()[-1] == "rank 0 has saved"
    assert (job.folder / "0.saved").exists() and (job.folder / "1.saved").exists()


def test_second_interruption_stops_deaf_workers_at_once(start):
    job = start("deaf")
    job.wait_for("0.ready")
    job.wait_for("1.ready")
    os.killpg(job.process.pid, signal.SIGINT)
    time.sleep(1.5)
    assert len(job.left()) >= 2
    os.killpg(job.process.pid, signal.SIGINT)
    assert job.end()[0] == 130
