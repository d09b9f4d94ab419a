"""Whatever happens while checkpoints are written: the newest one that verifies loads, and nothing readable is wrong."""

import ctypes
import errno
import os
import random
import resource
import signal
import time
from pathlib import Path

import mindspore  # noqa: F401 - before the forks: every child needs its version
import pytest

from neonext_ms.checkpoint import store as module
from neonext_ms.checkpoint.store import delete_checkpoint, load_checkpoint, numbered, save_checkpoint, tidy
from neonext_ms.training.run.folder import RunFolder
from neonext_ms.training.run.resume import newest
from tests.support.cards import CARD
from tests.support.nodes import become_root, unshare
from tests.support.saves import check, parameters, save

CLONE_NEWNS = 0x20000
KILLS = 200


def in_child(work) -> int:
    """Run `work` in a forked process; its process id."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def run_in_child(work):
    assert os.waitstatus_to_exitcode(os.waitpid(in_child(work), 0)[1]) == 0


@pytest.mark.slow
def test_200_kills_at_random_moments(folder):
    """One run after the other goes on in the same folder, where the one before was killed."""
    path, rng = folder.path, random.Random(0)
    reader, writer = os.pipe()
    written, interrupted = 1, 0
    save(folder, written)  # the first kill may come before the child has saved anything
    seconds = 0.05  # that a save took, as last seen: a disk may be ten times as slow a minute later
    folder.close()

    def write_for_ever():
        folder = RunFolder(path, "pico", keep=2, resume=True)
        last = newest(folder.checkpoints)
        step = last.manifest["step"] if last else 0
        folder.rewind(step, evaluated=True)
        os.write(writer, b"\n")
        while True:
            step += 1
            save(folder, step)
            os.write(writer, b"%d\n" % step)

    for _ in range(KILLS):
        pid = in_child(write_for_ever)
        said = os.read(reader, 1)  # it has begun
        for _ in range(rng.randrange(3)):
            begin = time.perf_counter()
            said += os.read(reader, 100)
            seconds = time.perf_counter() - begin
        time.sleep(rng.uniform(0, seconds))
        os.kill(pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        os.set_blocking(reader, False)
        try:
            said += os.read(reader, 1 << 20)
        except BlockingIOError:
            pass
        os.set_blocking(reader, True)
        written = max([written, *map(int, said.split())])
        folder = RunFolder(path, "pico", keep=2, resume=True)
        left = {p.name for p in folder.checkpoints.iterdir()}
        interrupted += any(name.endswith(".next") for name in left)
        step, best = check(folder)
        folder.close()
        assert step >= written and best >= written, "a checkpoint that was reported is lost"
        assert step <= written + 1 and best <= max(written, step) + 1
        written = max(written, step)  # killed before it could say so
        assert len(left) <= 20, "what interrupted writers leave is piling up"
    os.close(reader), os.close(writer)
    assert written > KILLS / 2 and interrupted > 5, "the kills did not meet the writes"


def test_a_file_is_on_the_disk_before_it_gets_its_name_and_the_name_before_anything_else(folder, monkeypatch):
    """What a kill cannot show, as the system goes on: the order that a loss of power needs."""
    fsync, replace, on_disk, last, renamed = os.fsync, os.replace, set(), [None], []

    def sync(file):
        on_disk.add(os.readlink(f"/proc/self/fd/{file}"))
        last[0] = None if last[0] in on_disk else last[0]
        fsync(file)

    def rename(source, target):
        assert str(source) in on_disk and last[0] is None
        on_disk.add(str(target))
        on_disk.discard(str(folder.checkpoints))
        last[0] = str(folder.checkpoints)
        renamed.append(target.name)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", rename)
    save(folder, 2)
    assert last[0] is None and len(renamed) == 7


def failing_saves(folder: RunFolder):
    """A save that must fail, in a way that leaves the one before."""
    with pytest.raises(OSError):
        save(folder, 2)
    assert check(folder)[0] == 1
    assert not [p for p in folder.checkpoints.iterdir() if p.name.startswith(".")], "no half files stay"


PAGE = 4096
DATA = 40  # pages of each of the two files


def small_disk(path: Path):
    """Mount a file system of 1 MiB, which this process alone sees."""
    become_root()
    unshare(CLONE_NEWNS)
    path.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", bytes(path), b"tmpfs", 0, b"size=1m"):
        raise OSError(ctypes.get_errno(), "cannot mount a small file system")


@pytest.mark.parametrize("room", [0, 1, DATA // 2, DATA - 1, DATA, DATA * 3 // 2, 2 * DATA])
def test_full_disk(tmp_path, room):
    """So many pages are left on it: for none of the files, a part of them, all but the manifest."""

    def work():
        small_disk(tmp_path / "disk")
        folder = RunFolder(tmp_path / "disk" / "run", "pico", keep=2)
        save(folder, 1)
        filler = tmp_path / "disk" / "filler"
        with pytest.raises(OSError, match="No space left"), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(PAGE))
        os.truncate(filler, filler.stat().st_size - room * PAGE)
        failing_saves(folder)
        filler.unlink()
        save(folder, 3)
        assert check(folder) == (3, 3)

    run_in_child(work)


def test_read_only_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.chmod(tmp_path, 0o755)
    folder = RunFolder(Path("run"), "pico", keep=2)  # relative: another user may not pass the folders above
    save(folder, 1)

    def work():
        os.chmod(folder.checkpoints, 0o555)
        if os.getuid() == 0:
            os.seteuid(65534)  # root may write everywhere
        failing_saves(folder)

    run_in_child(work)
    os.chmod(folder.checkpoints, 0o755)
    save(folder, 3)
    assert check(folder) == (3, 3)
    folder.close()


@pytest.mark.parametrize("good", range(7))
def test_a_file_system_that_refuses_to_rename(folder, monkeypatch, good):
    """After any number of renames that it has done: three files of the best and four of the numbered one."""
    replace, calls = os.replace, []

    def refuse(*names):
        calls.append(names)
        if len(calls) > good:
            raise OSError(errno.EPERM, "Operation not permitted")
        replace(*names)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError):
        save(folder, 2)
    monkeypatch.undo()
    step, best = check(folder)
    assert step == (2 if good == 6 else 1) and best == (1 if good < 2 else 2)
    save(folder, 3)
    assert check(folder) == (3, 3)


def test_lines_of_the_metrics_wait_for_room(folder):
    before = folder.metrics.read_bytes()

    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
        folder.log("train", step=2)
        assert folder.metrics.read_bytes() == before
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        folder.log("train", step=3)

    run_in_child(work)
    lines = folder.metrics.read_text().splitlines()
    assert [line.split('"step": ')[1] for line in lines] == ["1}", "2}", "3}"]


@pytest.mark.parametrize("removed", [1, 2, 3])
def test_what_a_killed_deletion_has_left_is_no_checkpoint(folder, removed):
    save(folder, 2)
    path = numbered(folder.checkpoints)[0]

    def work():
        unlink, done = Path.unlink, []

        def remove(file, **options):
            if len(done) == removed:
                os._exit(0)
            done.append(unlink(file, **options))

        Path.unlink = remove
        delete_checkpoint(path)

    run_in_child(work)
    assert not tidy(path) and numbered(folder.checkpoints) == [path.with_name("pico-1_2.ckpt")]


@pytest.mark.parametrize("renamed", [0, 1])
def test_a_replacement_that_was_killed_is_finished_or_dropped_by_the_next(tmp_path, monkeypatch, renamed):
    """The writer is killed before the first, or before the last of its renames of data and manifest."""
    path = tmp_path / "x_best.ckpt"
    save_checkpoint(path, next(parameters(1)), {**CARD, "step": 1})

    def work():
        done = []

        def rename(source, target):
            if len(done) == renamed:
                os._exit(0)
            done.append(os.replace(source, target))

        module.rename = rename
        save_checkpoint(path, next(parameters(2)), {**CARD, "step": 2})

    run_in_child(work)
    assert load_checkpoint(path).manifest["step"] == 1 + renamed
    monkeypatch.setattr(module, "write_manifest", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError):
        save_checkpoint(path, next(parameters(3)), {**CARD, "step": 3})
    monkeypatch.undo()
    assert load_checkpoint(path).manifest["step"] == 1 + renamed
    save_checkpoint(path, next(parameters(4)), {**CARD, "step": 4})
    assert load_checkpoint(path).manifest["step"] == 4
    assert sorted(os.listdir(tmp_path)) == ["x_best.ckpt", "x_best.ckpt.json"], "nor does anything hidden stay"
