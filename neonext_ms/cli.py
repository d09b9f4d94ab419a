"""The `neonext` command line: options, messages and exit codes. What the commands do is in commands.

Exit codes: 0 success; 1 a failure of the program; 2 a mistake in what was asked for, told in one line; 3 all was done
that could be, but not for all that was given; 75 a training run that a signal has stopped, after a checkpoint to go on
from; 130 interrupted.
"""

import io
import json
import logging
import os
import re
import signal
import sys
from dataclasses import fields

from neonext_ms import __version__
from neonext_ms.commands import COMMANDS, SUBJECTS
from neonext_ms.errors import Incomplete, Stopped, UnsavedError, UserError
from neonext_ms.files import folder_for_leftovers
from neonext_ms.runtime import exit_codes
from neonext_ms.terminal import TerminalHandler

CONFIGURED = ("train", "ablate", "plot")  # commands that take the options of a training run


def build_parser():
    """The parser of the whole command, every option typed and described by its function's docstring."""
    from jsonargparse import ArgumentParser

    from neonext_ms.analysis.ablation import RECIPE
    from neonext_ms.training.config import TrainConfig

    parser = ArgumentParser(
        prog="neonext", description="NeoNeXt in MindSpore: train, evaluate, export and run.", exit_on_error=False
    )
    parser.add_argument("--version", action="version", version=f"neonext_ms {__version__}")
    subcommands = parser.add_subcommands(dest="command", required=True)
    for name, function in COMMANDS.items():
        summary = function.__doc__.strip().splitlines()[0]
        command = ArgumentParser(description=summary, exit_on_error=False)
        if name in SUBJECTS:
            command.add_argument("what", choices=SUBJECTS[name])
        if name in CONFIGURED:
            command.add_function_arguments(function, as_group=False, skip={"config", "what"})
            command.add_argument("--config", action="config", help="YAML file with any of the options below")
            TrainConfig.add_options(command)
            command.set_defaults(RECIPE if name == "ablate" else {})
        elif name == "profile":
            command.add_argument("--models", nargs="+", help="names, as in --models neonext_t neonext_s; default: all")
            command.add_function_arguments(function, as_group=False, skip={"models"})
        elif name == "infer":
            listed = "image files, folders, patterns, or - for a list on stdin; none with --count"
            command.add_argument("images", nargs="*", default=[], help=listed)
            command.add_function_arguments(function, as_group=False, skip={"images"})
        elif name == "report":
            command.add_argument("run", help="folder of a training run")
            command.add_function_arguments(function, as_group=False, skip={"run"})
        else:
            command.add_function_arguments(function, as_group=False, skip={"what"} if name in SUBJECTS else set())
        command.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else on stdout")
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        subcommands.add_subcommand(name, command, help=summary)
    return parser


def main(arguments: list[str] | None = None):
    """Run the command line; ends the process with its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        sys.exit(_run(arguments))
    except UserError as error:
        if debug:
            raise
        _fail(str(error), exit_codes.MISTAKE)
    except Stopped as stopped:
        for number in (signal.SIGTERM, signal.SIGINT):  # one that comes while the process ends is to change nothing
            signal.signal(number, signal.SIG_IGN)
        print(f"neonext: {stopped}", file=sys.stderr)
        sys.exit(exit_codes.STOPPED)
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
    options, name = _parse(arguments)
    _quiet_mindspore()
    _pass_file_names()
    # With --json, whatever a command prints for people goes to stderr, and stdout is the result alone.
    stdout = sys.stdout
    if options.pop("json"):
        sys.stdout = sys.stderr
    handler = TerminalHandler(sys.stdout)
    logging.basicConfig(format="%(message)s", level=logging.WARNING, handlers=[handler])
    logging.getLogger("neonext_ms").setLevel(logging.INFO)
    code = 0
    try:
        result = COMMANDS[name](**options)
    except Incomplete as error:
        result, code = error.result, exit_codes.INCOMPLETE
        print(f"neonext: {error}", file=sys.stderr)
    finally:
        handler.finish()
    if sys.stdout is not stdout:
        sys.stdout = stdout
        print(json.dumps(result))
    return code


def _parse(arguments: list[str]) -> tuple[dict, str]:
    """Keyword arguments of the command's function (plus json), and the command's name."""
    from jsonargparse import ArgumentError

    from neonext_ms.training.config import TrainConfig

    if not arguments:
        arguments = ["--help"]
    try:
        parsed = build_parser().parse_args(arguments)
    except ArgumentError as error:
        message = _plain(" ".join(str(error).split()).rstrip("."))
        if arguments[0] not in COMMANDS:
            raise UserError(f"{message}; see neonext --help") from None
        # Required options are named with their command.
        message = re.sub(rf"(?<=required: ){arguments[0]}\.", "--", message)
        raise UserError(f"{message}; see neonext {arguments[0]} --help") from None
    name = parsed.command
    options = parsed[name].as_dict()
    options.pop("debug")
    if name in CONFIGURED:
        of_the_run = {"config", *(field.name for field in fields(TrainConfig))}
        options = {key: value for key, value in options.items() if key not in of_the_run}
        options["config"] = TrainConfig.from_namespace(parsed[name])
    return options, name


def _plain(message: str) -> str:
    """A message of the parser about an option's type, in the words of the command line."""
    message = re.sub(r'^Parser key "(\w+)": ', r"--\1: ", message)
    union = r"Does not validate against any of the Union subtypes Subtypes: \[(.*?), <class 'NoneType'>\] Errors: .* "
    message = re.sub(union + "Given value: ", r"Expected a \1 or null. Got value: ", message)
    message = re.sub(r"<class '(\w+)'>", r"\1", message)
    message = re.sub(r"typing\.Literal\[(.*?)\]", r"one of \1", message)
    return re.sub(r"Expected an? (.*)\. Got value: ", r"expected \1, got ", message)


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
    print(f"neonext: error: {message}", file=sys.stderr)
    sys.exit(code)
