"""What the launcher and the ranks that it starts must agree on about signals, and Ctrl-C in spite of MindSpore."""

import _thread
import signal
import threading

# Seconds in which signals that one process gets count as one: a terminal that is closed sends several.
AT_ONCE = 2.0
# What asks a job to stop. Closing a terminal sends SIGHUP.
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def keep_ctrl_c():
    """Let Ctrl-C do what Python's handler says, whatever MindSpore sets; to be called before NumPy is imported.

    With every graph that it runs, MindSpore (2.10) replaces the handler of SIGINT by one that sends SIGTERM to the
    process, and does not put it back. Blocked in all threads, as those that begin later inherit it, the signal reaches
    no handler but the thread that waits for it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    threading.Thread(target=_pass_on, name="Ctrl-C", daemon=True).start()


def _pass_on():
    while True:
        _thread.interrupt_main(signal.sigwait({signal.SIGINT}))
