"""The `neonext` command line: messages and exit codes. What the commands do, and their options, is in commands.

Exit codes: 0 success; 1 a failure of the program; 2 a mistake in what was asked for, told in one line; 3 all was done
that could be, but not for all that was given; 71 a process that prepares or checks data was ended; 75 a training run
that a signal has stopped, after a checkpoint to go on from; 130 interrupted.
"""

import io
import logging
import os
import signal
import sys

from neonext_ms.commands import COMMANDS
from neonext_ms.commands.parser import parse
from neonext_ms.errors import Incomplete, Stopped, UnsavedError, UserError, WorkerDied
from neonext_ms.files import folder_for_leftovers
from neonext_ms.runtime import exit_codes, heartbeat
from neonext_ms.runtime.graph_cache import ignore_graph_cache
from neonext_ms.runtime.signals import STOPS, keep_ctrl_c
from neonext_ms.terminal import TerminalHandler, printable
from neonext_ms.texts import to_json

__all__ = ["COMMANDS", "main"]


def main(arguments: list[str] | None = None):
    """Run the command line; ends the process with its exit code.

    Args:
        arguments: in place of the process's own; then the process keeps its signals as they are.
    """
    own_process = arguments is None
    arguments = sys.argv[1:] if own_process else arguments
    _open_closed_streams()
    debug = "--debug" in arguments
    if own_process and arguments[:1] in (["train"], ["ablate"]):
        keep_ctrl_c()
    try:
        try:
            code = _run(arguments)
        finally:
            sys.stdout.flush()  # here, where a reader that has gone is no error
        sys.exit(code)
    except UserError as error:
        if debug:
            raise
        _fail(str(error), exit_codes.MISTAKE)
    except Stopped as stopped:
        for number in STOPS if own_process else ():  # one that comes while the process ends is to change nothing
            signal.signal(number, signal.SIG_IGN)
        print(f"neonext: {stopped}", file=sys.stderr)
        sys.exit(exit_codes.STOPPED)
    except WorkerDied as error:
        _fail(str(error), exit_codes.WORKER_DIED)
    except UnsavedError as error:
        _fail(str(error), exit_codes.FAILED)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader of our output, such as head, has gone: not an error, but nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(exit_codes.FAILED)
    except Exception as error:
        if debug:
            raise
        first_line = str(error).strip().partition("\n")[0]
        _fail(f"{type(error).__name__}: {first_line} (run again with --debug for the traceback)", exit_codes.FAILED)


def _run(arguments: list[str]) -> int:
    function, options = parse(arguments)
    options.pop("debug")
    _quiet_mindspore()
    _pass_file_names()
    # With --json, whatever a command prints for people goes to stderr, and stdout is the result alone.
    stdout = sys.stdout
    if options.pop("json"):
        sys.stdout = sys.stderr
    # What infer prints are rows, which other programs read.
    messages = sys.stderr if function is COMMANDS["infer"] else sys.stdout
    handler = TerminalHandler(messages, followed=heartbeat.VARIABLE in os.environ)
    logging.basicConfig(format="%(message)s", level=logging.WARNING, handlers=[handler])
    logging.getLogger("neonext_ms").setLevel(logging.INFO)
    ignore_graph_cache()
    code = 0
    try:
        result = function(**options)
    except Incomplete as error:
        result, code = error.result, exit_codes.INCOMPLETE
        print(f"neonext: {error}", file=sys.stderr)
    finally:
        handler.finish()
    if sys.stdout is not stdout:
        sys.stdout = stdout
        print(to_json(result))
    return code


def _open_closed_streams():
    """A stream that was closed by whoever started the process (>&-) is none in Python; what it gets is dropped."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))


def _pass_file_names():
    """A file's name is bytes, which need not be UTF-8: names that are read and printed stay the bytes that they are."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")


def _quiet_mindspore():
    """Only errors on the terminal, and no files in the working directory when a graph fails to compile."""
    os.environ.setdefault("GLOG_v", "3")
    if "MS_OM_PATH" not in os.environ:
        os.environ["MS_OM_PATH"] = str(folder_for_leftovers())


def _fail(message: str, code: int):
    print(f"neonext: error: {printable(message)}", file=sys.stderr)
    sys.exit(code)
