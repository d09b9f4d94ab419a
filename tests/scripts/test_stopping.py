"""Stopping a job: by Ctrl-C, by a cluster's signals, and by the end of its launcher."""

import os
import signal
import subprocess
import time

import pytest


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
