"""A process of its own for what is measured: thread pools do not share one well, and its memory is its own."""

import contextlib
import importlib
import importlib.util
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

from neonext_ms.errors import NotInstalled, UserError


class Worker:
    """Holds an object in a new process, and calls its methods there. Used as a context manager.

    Args:
        title: what is run there, for errors.
        framework: module that is imported before the object is made: its size is not the object's.
        make: makes the object; it and what it is called with are pickled.

    Raises:
        UserError: here and in every call, when the process fails or ends; the message names the title.
    """

    def __init__(self, title: str, framework: str, make: Callable[[], object]):
        self.title = title
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, title, framework, make), daemon=True)
        self._process.start()
        theirs.close()
        self._receive()

    def call(self, method: str, *arguments):
        """What the object's method returns."""
        return self._ask(method, arguments)[0]

    def seconds(self, method: str, *arguments) -> float:
        """Time that the method takes, by the process's own clock."""
        return self._ask(method, arguments)[1]

    def peak_mb(self) -> float:
        """Memory by which the process has grown at most since before the object was made."""
        return self._ask(None, ())[0]

    def _ask(self, method: str | None, arguments: tuple):
        self._pipe.send((method, arguments))
        return self._receive()

    def _receive(self):
        try:
            answer = self._pipe.recv()
        except EOFError:
            raise UserError(f"the process that ran {self.title} ended before it answered") from None
        if isinstance(answer, UserError):
            raise answer
        return answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._pipe.close()
        self._process.join(10)


def check_installed(contender: str, *packages: str):
    """Raises UserError unless the packages of a contender are installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise NotInstalled(f"--against {contender}", package)


def _serve(pipe, title: str, framework: str, make: Callable[[], object]):
    made = None
    try:
        importlib.import_module(framework)
        before = _peak_mb()
        made = make()
        pipe.send(None)
    except Exception as error:
        pipe.send(_told(title, error))
        return
    with contextlib.suppress(EOFError):
        while True:
            method, arguments = pipe.recv()
            try:
                begin = time.perf_counter()
                result = _peak_mb() - before if method is None else getattr(made, method)(*arguments)
                pipe.send((result, time.perf_counter() - begin))
            except Exception as error:
                pipe.send(_told(title, error))


def _told(title: str, error: Exception) -> UserError:
    if isinstance(error, UserError):
        return error
    return UserError(f"cannot run {title}: {str(error).strip().partition(chr(10))[0] or type(error).__name__}")


def _peak_mb() -> float:
    """Largest memory of this process so far. getrusage would count that of the process it was started from, too."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024
