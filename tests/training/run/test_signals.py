"""The first signal asks a run to stop, the second ends it."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from neonext_ms.errors import UserError
from neonext_ms.runtime import heartbeat
from neonext_ms.training.run import signals
from neonext_ms.training.run.signals import StopRequest
from tests.support.paths import ROOT


def received(request: StopRequest, number: int):
    os.kill(os.getpid(), number)
    end = time.monotonic() + 20
    while request.signal is None and time.monotonic() < end:
        time.sleep(0.001)
    return request.signal


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_the_first_signal_is_a_request(name):
    before = signal.getsignal(getattr(signal, name))
    with StopRequest("SIGUSR1") as request:
        assert request.signal is None
        assert received(request, getattr(signal, name)) == ("Ctrl-C" if name == "SIGINT" else name)
    assert signal.getsignal(getattr(signal, name)) is before


def exit_code(work) -> int:
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_the_process_even_while_it_waits_elsewhere(second, monkeypatch):
    monkeypatch.setattr(signals, "AT_ONCE", 0.2)

    def work():
        with StopRequest() as request:
            received(request, signal.SIGTERM)
            time.sleep(0.5)
            os.kill(os.getpid(), second)
            threading.Lock().acquire() and threading.Event().wait(20)

    assert exit_code(work) == 128 + second


def test_under_a_launcher_its_own_signal_is_spared_however_late_it_comes(monkeypatch):
    monkeypatch.setattr(signals, "AT_ONCE", 0.01)
    monkeypatch.setenv(heartbeat.VARIABLE, "beat")
    reader, writer = os.pipe()

    def work():
        with StopRequest("SIGUSR1") as request:
            received(request, signal.SIGUSR1)
            for _ in range(2):
                time.sleep(0.2)
                os.write(writer, b".")
                os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(20)

    assert exit_code(work) == 128 + signal.SIGTERM
    assert os.read(reader, 9) == b"..", "the second of these has ended it"
    os.close(reader), os.close(writer)


def test_a_terminal_that_is_closed_means_nothing_under_nohup():
    def work():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with StopRequest() as request:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.3)
            os._exit(7 if request.signal is None else 1)

    assert exit_code(work) == 7


def test_signals_that_come_at_once_are_one(monkeypatch):
    monkeypatch.setattr(signals, "AT_ONCE", 60)

    def work():
        with StopRequest() as request:
            received(request, signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)

    assert exit_code(work) == 0


def test_without_a_preemption_signal_it_does_what_it_always_does():
    def work():
        with StopRequest():
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(20)

    assert exit_code(work) == -signal.SIGUSR1


def test_outside_the_main_thread_nothing_is_changed():
    before = signal.getsignal(signal.SIGTERM)
    handlers = []

    def work():
        with StopRequest() as request:
            handlers.extend([signal.getsignal(signal.SIGTERM), request.signal])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [before, None]


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP", "SIGNONE", "USR1", "SIG_DFL", "signal"])
def test_impossible_signals(name):
    with pytest.raises(UserError, match=name):
        StopRequest(name)


@pytest.mark.slow
def test_ctrl_c_is_called_ctrl_c_while_mindspore_runs(tmp_path):
    """MindSpore makes SIGTERM of it, from its first graph on. The run is saved."""
    command = [sys.executable, "-m", "neonext_ms", "train", "--epochs=500", "--batch_size=256", "--device=CPU"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*command, "--num_workers=0", "--log_interval=1", "--output_dir=run"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as training:  # fmt: skip
        for line in training.stdout:
            if "step 3/5" in line:
                break
        training.send_signal(signal.SIGINT)
        rest = training.communicate(timeout=600)[0]
    assert training.returncode == 75
    assert rest.splitlines()[-1].startswith("neonext: Ctrl-C has stopped the run after update ")
    assert rest.splitlines()[-1].endswith("which is saved: go on with --resume run")
    assert len(list((tmp_path / "run" / "checkpoints").glob("*.ckpt.json"))) == 1


LATE = """
import atexit, os, signal
from neonext_ms import cli
from neonext_ms.errors import Stopped

def env():
    "Stands for a training run that a signal has stopped."
    raise Stopped("saved")

cli.COMMANDS["env"] = env
atexit.register(os.kill, os.getpid(), signal.SIGTERM)
cli.main()
"""


def test_a_signal_while_a_stopped_command_ends_changes_nothing():
    """The launcher sends one when the cluster has signalled a rank itself."""
    done = subprocess.run([sys.executable, "-c", LATE, "env"], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (75, "neonext: saved\n")
