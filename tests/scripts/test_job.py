"""scripts/job.sh and scripts/launch: ranks started, followed, explained when they fail, stopped, started again."""

import json
import os
import signal
import subprocess
import time

import pytest

from tests.support.paths import ROOT

WORKER = ROOT / "tests" / "support" / "job_worker.py"
RUN = """set -euo pipefail
for part in env options cluster job; do source "$0/scripts/$part.sh"; done
MAX_RESTARTS="$1" RESTART_DELAY=1 JOB_OPTIONS=($2)
shift 2
run_job "$@"
echo after the job"""
RESULT = {"0": "10 55", "1": "10 110"}  # what an undisturbed run of two ranks leaves


class Job:
    """run_job in a shell of its own, with job_worker.py as the program.

    Args:
        table: start by a rank table, which takes a fraction of the 3 s that msrun needs.
        setup: shell code that comes first.
    """

    def __init__(self, folder, environment, way, *options, workers=2, table=True, restarts=0, setup=""):
        self.folder, self.logs = folder, folder / "logs" / "start-1"
        if table:
            devices = [{"device_id": str(i), "rank_id": str(i)} for i in range(workers)]
            (folder / "table.json").write_text(json.dumps({"server_list": [{"device": devices}]}))
        started = f"--rank_table={folder}/table.json" if table else f"--workers={workers}"
        script, all_options = RUN.replace("run_job", f"{setup}\nrun_job"), " ".join([started, *options])
        self.begin = time.monotonic()
        self.process = subprocess.Popen(
            ["bash", "-c", script, ROOT, str(restarts), all_options, folder, WORKER, folder, way],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Ctrl-C may be ignored where the tests run, and a shell cannot undo that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def wait_for(self, *names):
        for name in names:
            while not (self.folder / name).exists():
                assert self.process.poll() is None and time.monotonic() - self.begin < 300, self.process.communicate()
                time.sleep(0.1)

    def pid(self, name):
        return int((self.logs / f"{name}.pid").read_text().split()[0])

    def end(self):
        """Exit code, stdout and stderr, once every process of the job has ended."""
        out, err = self.process.communicate(timeout=300)
        assert not self.left(), "processes of the job are left"
        assert not list(self.folder.rglob("*.pid"))
        return self.process.returncode, out, err

    def left(self):
        found = subprocess.run(["pgrep", "-f", f"{WORKER} {self.folder} "], capture_output=True, text=True)
        return found.stdout.split()

    def kill(self):
        self.process.kill()
        for pid in self.left():
            os.kill(int(pid), signal.SIGKILL)

    @property
    def models(self):
        return {path.stem: path.read_text() for path in self.folder.glob("*.model")}


@pytest.fixture
def start(tmp_path, environment):
    jobs = []

    def run(*arguments, **options):
        jobs.append(Job(tmp_path, environment, *arguments, **options))
        return jobs[-1]

    yield run
    for job in jobs:
        job.kill()


@pytest.mark.parametrize(("workers", "table"), [(1, False), (2, False), (2, True)])
def test_success_shows_rank_0_without_the_noise(start, workers, table):
    usable = sorted(os.sched_getaffinity(0))
    cores = [usable[-1], usable[0]][:workers]
    job = start("succeed", f"--bind_cores={'/'.join(map(str, cores))}", workers=workers, table=table)
    code, out, err = job.end()
    assert (code, err) == (0, "")
    assert out.splitlines() == ["hello from rank 0", "bye from rank 0", "after the job"]
    logs = [job.logs / f"worker_{rank}.log" for rank in range(workers)]
    assert [f"bye from rank {rank}" in log.read_text() for rank, log in enumerate(logs)] == [True] * workers
    assert job.models == {rank: RESULT[rank] for rank in "01"[:workers]}
    assert [(job.folder / f"{rank}.cores").read_text() for rank in range(workers)] == [f"[{core}]" for core in cores]


@pytest.mark.parametrize("table", [True, False])
def test_rank_that_raises_is_named_with_its_last_lines_and_code(start, table):
    job = start("raise", table=table)
    code, out, err = job.end()
    assert code == 1
    assert out.splitlines() == ["hello from rank 0"]
    *lines, verdict = err.splitlines()
    assert lines[0] == "hello from rank 1"
    assert lines[-1] == "RuntimeError: rank 1 has run out of luck"
    assert "Failed to connect" not in err
    assert verdict == f"error: rank 1 stopped with exit code 1, see the lines above and {job.logs}/worker_1.log"


def test_rank_0_is_not_repeated_when_it_raises(start):
    job = start("raise-first")
    code, out, err = job.end()
    assert code == 1
    assert out.splitlines()[-1] == "RuntimeError: rank 0 has run out of luck"
    assert err == f"error: rank 0 stopped with exit code 1, see the lines above and {job.logs}/worker_0.log\n"


def test_mistake_of_the_user_is_told_once_and_not_tried_again(start):
    code, _, err = start("mistake", restarts=3).end()
    assert code == 2
    assert err.splitlines() == ["neonext: error: batch_size is wrong"]


def test_killed_rank_gives_its_signal(start):
    job = start("die")
    code, _, err = job.end()
    assert code == 128 + signal.SIGKILL
    assert err.splitlines()[-1] == f"error: rank 1 was killed by signal 9, see {job.logs}/worker_1.log"


def test_hung_rank_is_named_and_ends_the_job(start):
    job = start("hang", "--hang_timeout=2")
    job.wait_for("1.model")
    begin = time.monotonic()
    code, _, err = job.end()
    assert code == 124
    assert time.monotonic() - begin < 20
    assert err.splitlines()[-1] == (
        "error: rank 1 has shown no sign of life for 2 s since update 2, its process is stopped (SIGSTOP), "
        f"see {job.logs}/worker_1.log"
    )


def test_rank_that_leaves_early_without_an_error_ends_the_job(start):
    job = start("leave")
    code, _, err = job.end()
    assert code == 70
    assert err.splitlines()[-1] == (
        f"error: rank 1 ended with exit code 0 at update 2 before the job was done, see {job.logs}/worker_1.log"
    )


def test_rank_that_never_starts_its_work_ends_the_job(start):
    job = start("wait", "--start_timeout=1", "--hang_timeout=1", workers=1, table=False)
    code, _, err = job.end()
    assert code == 124
    assert "no sign of life for 1 s since update 2" in err


def test_killed_scheduler_ends_the_job(start):
    job = start("wait", table=False)
    job.wait_for("0.ready", "1.ready", "logs/start-1/scheduler.pid")
    begin = time.monotonic()
    os.kill(job.pid("scheduler"), signal.SIGKILL)
    code, _, err = job.end()
    assert code == 128 + signal.SIGKILL
    assert time.monotonic() - begin < 20
    assert err.splitlines()[-1] == f"error: scheduler was killed by signal 9, see {job.logs}/scheduler.log"


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("raise", "RuntimeError: rank 1 has run out of luck"),
        ("die", "error: rank 1 was killed by signal 9, see"),
        ("hang", "error: rank 1 has shown no sign of life for 2 s"),
        ("leave", "error: rank 1 ended with exit code 0"),
        (
            "lose",
            "neonext: error: a data worker was ended by a SIGKILL, which the system sends for lack of memory: use",
        ),
    ],
)
def test_restarted_job_gives_the_result_of_an_undisturbed_one(start, way, said):
    job = start(way, "--hang_timeout=2", restarts=1)
    code, out, err = job.end()
    assert code == 0, err
    assert said in err
    assert way != "lose" or "error: rank 1 stopped with exit code 71" in err
    assert "== Start 2 of at most 2 in 1 s, from the newest good checkpoint" in err.splitlines()
    assert out.splitlines()[-1] == "after the job"
    assert job.models == RESULT
    assert {path.name for path in (job.folder / "logs").iterdir()} == {"start-1", "start-2"}
    assert "hello from rank 1" in (job.logs / "worker_1.log").read_text()


def test_restarts_come_to_an_end(start):
    job = start("raise-first", restarts=1)
    job.wait_for("logs/start-2")
    (job.folder / "0.model").write_text("broken")
    assert job.end()[0] == 1
    assert not (job.folder / "logs" / "start-3").exists()


def test_pauses_between_starts_double_up_to_a_limit(tmp_path, environment):
    """The shell's sleep is replaced by one that takes no time."""
    script = RUN.replace("RESTART_DELAY=1", 'RESTART_DELAY=100\nsleep() { echo slept "$1"; }\n')
    command = ["bash", "-c", script, ROOT, "4", "--workers=1", tmp_path, "-c", "raise SystemExit(3)"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 3
    assert result.stdout.splitlines() == ["slept 100", "slept 200", "slept 300", "slept 300"]
    starts = [line for line in result.stderr.splitlines() if line.startswith("== Start")]
    assert starts[1] == "== Start 3 of at most 5 in 200 s, from the newest good checkpoint"


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_interruption_stops_every_worker_and_starts_none(start, sent, code):
    job = start("wait", table=sent != signal.SIGINT, restarts=3)
    job.wait_for("0.ready", "1.ready")
    interrupted = time.monotonic()
    os.killpg(job.process.pid, sent)
    found, _, err = job.end()
    assert found == code and "== Start" not in err
    assert time.monotonic() - interrupted < 20
    assert not (job.folder / "logs" / "start-2").exists()


@pytest.mark.parametrize("receiver", ["launcher", "rank 0", "rank 1"])
def test_stopped_ranks_save_and_the_code_says_so(start, receiver):
    job = start("slow", restarts=3)
    job.wait_for("0.ready", "1.ready")
    os.kill(job.process.pid if receiver == "launcher" else job.pid(receiver.replace(" ", "_")), signal.SIGTERM)
    code, out, _ = job.end()
    assert code == 75
    assert out.splitlines()[-1] == "rank 0 has saved"  # 3 s after rank 1
    assert job.models == {"0": "3 6", "1": "3 12"}  # one update more than before the signal
    assert not (job.folder / "logs" / "start-2").exists()


def test_a_job_of_which_only_one_rank_has_saved_is_not_called_saved(start):
    job = start("half", "--stop_timeout=2", restarts=3)
    job.wait_for("0.ready", "1.ready")
    job.process.terminate()
    code, out, _ = job.end()
    assert out.splitlines()[-1] == "rank 0 has saved"
    assert code == 143


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGUSR1])
def test_signal_to_every_process_of_the_job_is_one(start, sent):
    """Some clusters do that; without the scheduler, ranks could not finish their update. The script may be late."""
    job = start("slow", table=False, restarts=3, setup="set_preempt_signal SIGUSR1")
    job.wait_for("0.ready", "1.ready", "logs/start-1/scheduler.pid")
    supervisor = subprocess.run(["pgrep", "-P", str(job.process.pid)], capture_output=True, text=True).stdout
    scheduler = job.pid("scheduler")
    for pid in (scheduler, job.pid("rank_0"), job.pid("rank_1"), int(supervisor)):
        os.kill(pid, sent)
    time.sleep(2.2)  # rank 0 saves for 3 s
    job.process.send_signal(sent)
    assert os.path.exists(f"/proc/{scheduler}"), job.end()
    code, out, _ = job.end()
    assert code == 75
    assert out.splitlines()[-1] == "rank 0 has saved"
    assert job.models == {"0": "3 6", "1": "3 12"}
    assert not (job.folder / "logs" / "start-2").exists()


def test_second_interruption_stops_deaf_workers_at_once(start):
    job = start("deaf", "--stop_timeout=3000")
    job.wait_for("0.ready", "1.ready")
    os.killpg(job.process.pid, signal.SIGINT)
    job.wait_for("0.told", "1.told")
    time.sleep(2.5)  # what comes sooner would be the same one
    assert len(job.left()) >= 2
    os.killpg(job.process.pid, signal.SIGINT)
    assert job.end()[0] == 130


def test_deaf_workers_are_killed_after_the_time_they_have(start):
    job = start("deaf", "--stop_timeout=1")
    job.wait_for("0.ready", "1.ready")
    os.kill(job.process.pid, signal.SIGTERM)
    assert job.end()[0] == 143


@pytest.mark.parametrize("victim", ["the script", "the supervisor"])
def test_ranks_do_not_outlive_a_killed_launcher(start, victim):
    job = start("wait")
    job.wait_for("0.ready", "1.ready")
    supervisor = subprocess.run(["pgrep", "-P", str(job.process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(job.process.pid if victim == "the script" else int(supervisor[0]), signal.SIGKILL)
    job.process.wait(timeout=120)
    end = time.monotonic() + 120
    while job.left() and time.monotonic() < end:
        time.sleep(0.1)
    assert not job.left()


def test_health_line_tells_ranks_updates_and_memory(start):
    job = start("hang", "--health_interval=0.5", "--hang_timeout=2")
    lines = [line for line in job.end()[1].splitlines() if line.startswith("== health: ")]
    assert lines
    assert lines[-1].startswith(
        "== health: 2 of 2 ranks alive; rank 1 is stopped; update 2, 0.00 a second; host memory "
    )
    assert lines[-1].endswith(" GB")
