"""The `neonext` command: one thin function for each subcommand.

Exit codes: 0 success; 1 a failure of the program; 2 a mistake in what was asked for, told in one line; 130 interrupted.
"""

import json
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Literal

from neonext_ms import __version__
from neonext_ms.errors import UserError


def train(config):
    """Train a model, evaluate it and write a run folder: configuration, metrics, curves, checkpoints, summary."""
    from neonext_ms.analysis.plots import plot_curves
    from neonext_ms.training.trainer import train

    summary = train(config)
    if summary["run"]:
        run = Path(summary["run"])
        plot_curves(run / "metrics.jsonl", run / "curves.png")
    return summary


def validate(
    checkpoint: str,
    dataset: Literal["digits", "cifar10", "cifar100", "folder"] | None = None,
    data_dir: str | None = None,
    batch_size: int = 100,
    num_workers: int = 1,
    device: Literal["auto", "CPU", "Ascend"] = "auto",
):
    """Evaluate a checkpoint on a validation split, with the preprocessing that the checkpoint carries.

    Args:
        checkpoint: .ckpt file of a run.
        dataset: the checkpoint's own if null.
        data_dir: where the data set is; the checkpoint's own if dataset is null.
        batch_size: images a step on each device.
        num_workers: threads that prepare batches.
        device: where to run; auto takes an Ascend NPU if there is one.
    """
    from neonext_ms.training.evaluation import validate

    result = validate(Path(checkpoint), dataset, data_dir, batch_size, num_workers, device)
    print(f"accuracy {100 * result['accuracy']:.2f} %, loss {result['loss']:.4f} on {result['images']} images")
    return result


def env():
    """Show versions, devices and which NeoCell backend is in use and why."""
    from neonext_ms.analysis.environment import environment

    result = environment()
    width = max(map(len, result))
    for key, value in result.items():
        print(f"{key:{width}}  {value}")
    return result


COMMANDS = {"train": train, "validate": validate, "env": env}


def build_parser():
    """The parser of the whole command, every option typed and described by its function's docstring."""
    from jsonargparse import ArgumentParser

    from neonext_ms.training.config import TrainConfig

    parser = ArgumentParser(
        prog="neonext", description="NeoNeXt in MindSpore: train, evaluate, export and run.", exit_on_error=False
    )
    parser.add_argument("--version", action="version", version=f"neonext_ms {__version__}")
    subcommands = parser.add_subcommands(dest="command", required=True)
    for name, function in COMMANDS.items():
        summary = function.__doc__.strip().splitlines()[0]
        command = ArgumentParser(description=summary, exit_on_error=False)
        if name == "train":
            command.add_argument("--config", action="config", help="YAML file with any of the options below")
            command.add_class_arguments(TrainConfig, as_group=False)
        else:
            command.add_function_arguments(function, as_group=False)
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
        _fail(str(error), 2)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader of our output, such as head, has gone: not an error, but nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        _fail(f"{type(error).__name__}: {error} (run again with --debug for the traceback)", 1)


def _run(arguments: list[str]) -> int:
    options, name = _parse(arguments)
    _quiet_mindspore()
    # With --json, whatever a command prints for people goes to stderr, and stdout is the result alone.
    stdout = sys.stdout
    if options.pop("json"):
        sys.stdout = sys.stderr
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stdout)
    logging.getLogger("neonext_ms").setLevel(logging.INFO)
    result = COMMANDS[name](**options)
    if sys.stdout is not stdout:
        sys.stdout = stdout
        print(json.dumps(result))
    return 0


def _parse(arguments: list[str]) -> tuple[dict, str]:
    """Keyword arguments of the command's function (plus json), and the command's name."""
    from jsonargparse import ArgumentError

    from neonext_ms.training.config import TrainConfig

    if not arguments:
        arguments = ["--help"]
    try:
        parsed = build_parser().parse_args(arguments)
    except ArgumentError as error:
        command = f" {arguments[0]}" if arguments[0] in COMMANDS else ""
        raise UserError(f"{_one_line(error)}; see neonext{command} --help") from None
    name = parsed.command
    options = parsed[name].as_dict()
    options.pop("debug")
    if name == "train":
        return {"config": TrainConfig.from_namespace(parsed.train), "json": options["json"]}, name
    return options, name


def _one_line(error) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _quiet_mindspore():
    """Only errors on the terminal, and no files in the working directory when a graph fails to compile."""
    os.environ.setdefault("GLOG_v", "3")
    os.environ.setdefault("MS_OM_PATH", os.path.join(tempfile.gettempdir(), f"neonext_ms-{os.getuid()}"))


def _fail(message: str, code: int):
    print(f"neonext: error: {message}", file=sys.stderr)
    sys.exit(code)
