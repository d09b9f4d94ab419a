"""Stopping a run from outside: a signal asks for it, and the run ends when it can."""

import logging
import os
import signal
import threading
import time

from neonext_ms.errors import UserError
from neonext_ms.runtime import heartbeat
from neonext_ms.runtime.signals import AT_ONCE, STOPS

log = logging.getLogger(__name__)


class StopRequest:
    """While entered, the first signal to stop sets `signal`, a later one ends the process.

    These are SIGTERM, SIGINT (Ctrl-C), the preemption signal, and SIGHUP, which comes when a terminal or a connection
    is closed, unless it is ignored (nohup). A thread listens, so that a second signal works even while the main thread
    waits for a device or another rank. Under a launcher, which passes one on whenever it gets to it, one more is
    spared: a cluster may have signalled this process as well. Outside a program's main thread, where Python allows no
    handlers, nothing is changed.

    Args:
        preempt_signal: name of one more, such as SIGUSR1, that the cluster sends before it takes the machine away.

    Attributes:
        signal: name of the signal that has come, "Ctrl-C" for SIGINT, or None.

    Raises:
        UserError: there is no such signal, or it cannot be handled.
    """

    def __init__(self, preempt_signal: str | None = None):
        self.signal = None
        self._numbers = [number for number in STOPS if not _is_nohup(number)]
        if preempt_signal is not None:
            self._numbers.append(_number(preempt_signal))
        self._writer = None

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            reader, self._writer = os.pipe()
            os.set_blocking(self._writer, False)
            threading.Thread(target=self._listen, args=(reader,), name="signals", daemon=True).start()
            # Python's C handler writes the number of every signal to the pipe; its own handlers have to be there.
            self._previous_writer = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            self._previous = {number: signal.signal(number, lambda *_: None) for number in self._numbers}
        return self

    def __exit__(self, *_):
        if self._writer is not None:
            for number, handler in self._previous.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._previous_writer)
            os.close(self._writer)
            self._writer = None

    def _listen(self, reader: int):
        first, spared = 0.0, int(heartbeat.VARIABLE in os.environ)
        with os.fdopen(reader, "rb", buffering=0) as stream:
            while received := stream.read(1):
                number = received[0]
                if number not in self._numbers:
                    continue
                if self.signal is not None:
                    if time.monotonic() - first > AT_ONCE:
                        if not spared:
                            os._exit(128 + number)
                        spared -= 1
                    continue
                first = time.monotonic()
                self.signal = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
                log.warning("%s: stopping after this update, with a checkpoint; once more stops at once", self.signal)


def _is_nohup(number: int) -> bool:
    return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


def _number(name: str) -> int:
    number = getattr(signal, name, None) if name.startswith("SIG") else None
    if not isinstance(number, signal.Signals) or number in (signal.SIGKILL, signal.SIGSTOP):
        raise UserError(f"preempt_signal must be a signal that can be handled, such as SIGUSR1, got {name}")
    return number
