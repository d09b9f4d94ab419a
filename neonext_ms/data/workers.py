"""Worker processes that fill batches in memory which they share with the training process. Linux only.

Processes and not threads, because Pillow holds Python's global lock in most of its operations. They are started as new
programs, not forked: a fork of a process in which MindSpore runs would copy its locks, in whatever state they are.
The memory is an anonymous file: it has no name that could be left behind, and no /dev/shm that could be too small.
"""

import mmap
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import weakref
from multiprocessing.connection import Connection, Pipe, wait

import numpy as np

from neonext_ms.data.plan import Filled, Part, Plan
from neonext_ms.errors import UserError, WorkerDied

_TASK = struct.Struct("5q")  # slot and the fields of a Part; one message each, taken by whichever worker is free
# Nothing is taken from the working folder, which Python looks into first: a signal.py there would not be Python's.
_START = "import sys; sys.path[:] = filter(None, sys.path); from neonext_ms.data.workers import work; "
_START += "work(*map(int, sys.argv[1:]))"


class Memory:
    """Slots of one batch each, in a file that grows by need.

    A slot holds the indices of the samples, int64 (n,), images (n, C, S, S) and targets (n, K), float32.
    """

    def __init__(self, plan: Plan, file: int):
        n = plan.batch_size
        self.layout = ((np.int64, (n,)), (np.float32, (n, *plan.image_shape)), (np.float32, (n, plan.classes)))
        size = sum(np.dtype(dtype).itemsize * int(np.prod(shape)) for dtype, shape in self.layout)
        self.size = -(-size // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        self.file = file
        self.mappings = []
        self.free = []

    def take(self) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
        """A slot that is nobody's: its number, indices, images and targets. It is free again when all are gone."""
        if not self.free:
            self.free.append(len(self.mappings))
            os.ftruncate(self.file, (len(self.mappings) + 1) * self.size)
        slot = self.free.pop()
        whole, arrays = self.arrays(slot)
        weakref.finalize(whole, self.free.append, slot).atexit = False
        return slot, *arrays

    def arrays(self, slot: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """All of a slot, and the views of it, which keep it alive."""
        while len(self.mappings) <= slot:
            self.mappings.append(mmap.mmap(self.file, self.size, offset=len(self.mappings) * self.size))
        whole, views, at = np.frombuffer(self.mappings[slot], np.uint8), [], 0
        for dtype, shape in self.layout:
            end = at + np.dtype(dtype).itemsize * int(np.prod(shape))
            views.append(whole[at:end].view(dtype).reshape(shape))
            at = end
        return whole, views


class Workers:
    """Processes that do the parts given to them, in any order.

    Args:
        plan: what to do; every worker has a copy, but its arrays, such as the names of the samples, are shared.
        count: processes.
    Raises: UserError when the plan's source cannot be copied.
    """

    def __init__(self, plan: Plan, count: int):
        file = os.memfd_create("neonext_ms batches")
        plan_file = os.memfd_create("neonext_ms plan")
        self.memory = Memory(plan, file)
        self.tasks, tasks = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.results, self.processes = [], []
        self._kills = _out_of_memory_kills()
        self._finalizer = weakref.finalize(self, _stop, self.tasks, self.results, self.processes, file)
        try:
            _write_plan(plan, plan_file)
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
            for _ in range(count):
                reader, writer = Pipe(duplex=False)
                self.results.append(reader)
                files = tasks.fileno(), writer.fileno(), file, plan_file
                command = [sys.executable, "-c", _START, *map(str, files)]
                self.processes.append(subprocess.Popen(command, pass_fds=files, env=environment))
                writer.close()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            self.close()
            raise UserError(
                f"cannot copy {plan.source.name} to worker processes ({error}): use num_workers=0"
            ) from None
        finally:
            tasks.close()
            os.close(plan_file)

    def submit(self, slot: int, part: Part):
        """Give a part to whichever worker is free. Raises like `next_results` if all of them have ended."""
        try:
            self.tasks.send(_TASK.pack(slot, *part))
        except OSError:  # nobody is at the other end
            while True:
                self.next_results()

    def next_results(self) -> list[tuple[Part, Filled | Exception]]:
        """Wait for parts to be done: what was filled, or what a worker raised. Raises WorkerDied if one has ended."""
        done = []
        for reader in wait(self.results):
            try:
                done.append(reader.recv())
            except (EOFError, OSError):  # the latter in the middle of a result
                process = self.processes[self.results.index(reader)]
                raise WorkerDied(_last_words(process.wait(), _out_of_memory_kills() - self._kills)) from None
        return done

    def close(self):
        """End the processes. Batches that were delivered keep their memory."""
        self._finalizer()


def _write_plan(plan: Plan, file: int):
    """Pickle a plan with its arrays apart, each at a whole page's start: sizes of all parts, the pickle, the arrays."""
    buffers = []
    pickled = pickle.dumps(plan, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(pickled), *(buffer.raw() for buffer in buffers)]
    with os.fdopen(file, "wb", closefd=False) as stream:
        for part in [np.array([len(parts), *map(len, parts)], np.int64).tobytes(), *parts]:
            stream.seek(-(-stream.tell() // mmap.PAGESIZE) * mmap.PAGESIZE)
            stream.write(part)
        stream.truncate(-(-stream.tell() // mmap.PAGESIZE) * mmap.PAGESIZE)


def _read_plan(file: int) -> Plan:
    """The plan of `_write_plan`; its arrays are the file's memory itself, one for all processes, and read only."""
    data = memoryview(mmap.mmap(file, 0, prot=mmap.PROT_READ))
    os.close(file)
    count = int(np.frombuffer(data, np.int64, 1)[0])
    parts, at = [], 8 * (1 + count)
    for size in np.frombuffer(data, np.int64, count, 8).tolist():
        at = -(-at // mmap.PAGESIZE) * mmap.PAGESIZE
        parts.append(data[at : at + size])
        at += size
    return pickle.loads(parts[0], buffers=parts[1:])


def _stop(tasks, results, processes, file):
    for process in processes:
        process.terminate()  # they have nothing to lose
    for process in processes:
        process.wait()
    tasks.close()
    for reader in results:
        reader.close()
    os.close(file)


def _last_words(code: int, kills: int) -> str:
    """Why a worker has ended.

    Args:
        code: as `Popen.wait` gives it.
        kills: processes that the system has stopped for lack of memory meanwhile.
    """
    if code >= 0:
        return f"a data worker ended with exit code {code}; its last words are above"
    name = signal.Signals(-code).name
    if code != -signal.SIGKILL:
        return f"a data worker was ended by {name}"
    who = "the system, for lack of memory" if kills else "a SIGKILL, which the system sends for lack of memory"
    return f"a data worker was ended by {who}: use fewer num_workers or a smaller batch_size"


def _out_of_memory_kills() -> int:
    """How many processes this machine has stopped for lack of memory since it was started."""
    try:
        with open("/proc/vmstat") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0


def work(tasks_file: int, results_file: int, memory_file: int, plan_file: int):
    """What a worker process does, until the other end of its tasks is closed; the arguments are file descriptors."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training process decides what Ctrl-C means
    tasks, results = socket.socket(fileno=tasks_file), Connection(results_file, readable=False)
    plan = _read_plan(plan_file)
    memory = Memory(plan, memory_file)
    while message := tasks.recv(_TASK.size):
        slot, *fields = _TASK.unpack(message)
        part = Part(*fields)
        _, (indices, images, targets) = memory.arrays(slot)
        rows = slice(part.start, part.start + part.count)
        try:
            outcome = plan.fill(part, indices[rows], images[rows], targets[rows])
        except Exception as error:
            outcome = error
        results.send((part, outcome))
