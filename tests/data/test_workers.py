"""Worker processes: none is left behind, none is missed, and none takes more memory than it needs."""

import gc
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from neonext_ms.data import Loader, workers
from neonext_ms.data.plan import Part
from neonext_ms.data.sources import ArraySource
from neonext_ms.errors import UserError, WorkerDied
from tests.support.paths import ROOT
from tests.support.samples import PREPROCESS, SOURCE, make_source, merge, training


def processes(loader):
    return [] if loader._workers is None else list(loader._workers.processes)


def gone(started):
    return started and all(process.poll() is not None for process in started)


@pytest.mark.parametrize("how", ["break", "close the epoch", "raise", "close the loader", "forget the loader"])
def test_no_process_is_left(how):
    loader = training(num_workers=2)
    batches = loader.epoch(0)
    next(batches)
    started = processes(loader)
    assert len(started) == 2 and not gone(started)
    if how == "break":
        del batches
    elif how == "close the epoch":
        batches.close()
    elif how == "raise":
        with pytest.raises(KeyError):
            batches.throw(KeyError())
    elif how == "close the loader":
        list(batches)
        loader.close()
    else:
        list(batches)
        del loader
    gc.collect()
    assert gone(started)


def test_workers_stay_from_epoch_to_epoch_and_start_anew_when_one_was_left_early():
    loader = training(num_workers=1)
    list(loader.epoch(0))
    first = processes(loader)
    list(loader.epoch(1))
    assert processes(loader) == first and not gone(first)
    next(loader.epoch(2))
    gc.collect()
    assert merge(loader.epoch(3))["images"].tobytes() == merge(training().epoch(3))["images"].tobytes()
    assert processes(loader) != first
    loader.close()


def test_workers_end_with_a_process_that_is_killed():
    """A trainer that gets no chance to clean up leaves no process behind."""
    code = (
        "from tests.support.samples import training\n"
        "loader = training(num_workers=2)\n"
        "next(loader.epoch(0))\n"
        "import os, time\n"
        "batches = loader.epoch(0); next(batches)\n"
        "print(*[process.pid for process in loader._workers.processes], flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as trainer:
        pids = [int(word) for word in trainer.stdout.readline().split()]
        trainer.kill()
    assert len(pids) == 2
    wait_until(lambda: not any(running(pid) for pid in pids))


def running(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "number, words",
    [
        (signal.SIGKILL, "^a data worker was ended by .*for lack of memory: use fewer num_workers or a smaller"),
        (signal.SIGSEGV, "^a data worker was ended by SIGSEGV$"),
    ],
)
def test_a_worker_that_is_killed_ends_the_epoch_with_a_reason(number, words):
    """Which is no mistake of the user: a job that is started again may succeed."""
    loader = training(2, num_workers=2)
    batches = loader.epoch(0)
    next(batches)
    processes(loader)[0].send_signal(number)
    with pytest.raises(WorkerDied, match=words):
        list(batches)
    assert not processes(loader)


def test_workers_that_all_were_killed_between_two_batches_end_the_epoch_with_the_same_reason():
    """Then nobody takes the next task: with one worker, the usual number, that is the first to be noticed."""
    loader = training(2, num_workers=2)
    batches = loader.epoch(0)
    next(batches)
    killed = processes(loader)
    for process in killed:
        process.kill()
    wait_until(lambda: not any(running(process.pid) for process in killed))
    with pytest.raises(WorkerDied, match="^a data worker was ended by .*for lack of memory"):
        next(batches)


class LongReasons(ArraySource):
    """What cannot be read of it is told in more words than a pipe holds."""

    def image(self, index):
        raise UserError("x" * 200_000)


def test_a_worker_that_is_killed_while_it_tells_its_result_ends_the_epoch_with_the_same_reason():
    source = LongReasons("made/train", list("abcdefg"), SOURCE.labels, SOURCE.images, SOURCE.mean, SOURCE.std)
    at_work = workers.Workers(Loader(source, PREPROCESS, 6, training=False)._plan, 1)
    slot, *_ = at_work.memory.take()
    at_work.submit(slot, Part(0, 0, 0, 6))
    wait_until(lambda: at_work.results[0].poll())
    at_work.processes[0].kill()
    with pytest.raises(WorkerDied, match="^a data worker was ended by a SIGKILL"):
        at_work.next_results()
    at_work.close()


def test_a_worker_that_cannot_start_is_not_said_to_lack_memory(monkeypatch):
    monkeypatch.setattr(workers, "_START", "import sys; sys.exit(3)")
    with pytest.raises(WorkerDied, match="^a data worker ended with exit code 3; its last words are above$"):
        list(training(2, num_workers=1).epoch(0))


def test_workers_take_no_module_from_the_working_folder(tmp_path, monkeypatch):
    """A signal.py or PIL.py that lies there by chance."""
    for name in ("signal.py", "PIL.py", "random.py"):
        (tmp_path / name).write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    loader = training(2, num_workers=1)
    assert len(list(loader.epoch(0))) == len(loader)


def test_ctrl_c_reaches_the_caller_and_not_the_workers():
    """A terminal sends it to all; what the caller does with it must find the workers alive."""
    loader = training(2, num_workers=1)
    batches = loader.epoch(0)
    next(batches)
    processes(loader)[0].send_signal(signal.SIGINT)
    assert len(list(batches)) == len(loader) - 1


def test_memory_is_used_again_and_what_is_kept_stays_as_it_is():
    loader = training(2, num_workers=2)
    for batch in loader.epoch(0):
        del batch
    few = len(loader._workers.memory.mappings)
    assert few <= 4  # two ahead, the one in use, and one that the loop has just let go
    kept = list(loader.epoch(0))
    loader.close()
    assert merge(kept)["images"].tobytes() == merge(training(2).epoch(0))["images"].tobytes()


def test_reading_ahead_is_bounded():
    loader = training(2, num_workers=2)
    batches = loader.epoch(0)
    batch = next(batches)
    time.sleep(0.2)
    assert len(loader._workers.memory.mappings) == 3
    assert batch.images.shape == (2, 3, 8, 8)
    batches.close()


def test_a_source_that_cannot_be_copied():
    source = make_source(20)
    source.image = lambda index: source.images[index]
    with pytest.raises(UserError, match="^cannot copy made/train to worker processes .*: use num_workers=0$"):
        next(Loader(source, PREPROCESS, 2, training=False, num_workers=1).epoch())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_other_errors_reach_the_caller(num_workers):
    """A source that breaks its promise is a fault of the program, not a bad file."""
    source = make_source(30)
    source.images = source.images[:25]
    loader = Loader(source, PREPROCESS, 10, training=False, num_workers=num_workers)
    batches = loader.epoch()
    next(batches), next(batches)
    with pytest.raises(IndexError):
        next(batches)
    assert not processes(loader)
