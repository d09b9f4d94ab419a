"""scripts/job.sh and scripts/launch: ranks started, followed, explained when they fail, stopped, started again."""

import os
import signal
import subprocess
import time

import pytest

from tests.support.job import RESULT, RUN
from tests.support.paths import ROOT


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


def test_rank_that_ends_without_a_sign_of_life_ends_the_job_when_the_others_have_had_their_time(start):
    job = start("absent", "--exit_timeout=2", "--stop_timeout=40")
    job.wait_for("0.at")
    begin = time.monotonic()
    code, _, err = job.end()
    assert code == 70 and time.monotonic() - begin < 20
    assert err.splitlines()[-1] == (
        f"error: rank 1 ended with exit code 0 before the job was done, see {job.logs}/worker_1.log"
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
    job = start(way, f"--hang_timeout={2 if way == 'hang' else 60}", restarts=1)
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


def test_health_line_tells_ranks_updates_and_memory(start):
    job = start("hang", "--health_interval=0.5", "--hang_timeout=2")
    lines = [line for line in job.end()[1].splitlines() if line.startswith("== health: ")]
    assert lines
    assert lines[-1].startswith(
        "== health: 2 of 2 ranks alive; rank 1 is stopped; update 2, 0.00 a second; host memory "
    )
    assert lines[-1].endswith(" GB")
