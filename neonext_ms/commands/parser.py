"""The words of a command line: which command they name, its options, and mistakes in them told in one line."""

import inspect
import json
import os
import re
import textwrap
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Union, get_args, get_origin, get_type_hints

from neonext_ms import __version__
from neonext_ms.commands import COMMANDS, SUMMARIES
from neonext_ms.commands.config_files import configs_first, did_you_mean, of_study, resumed
from neonext_ms.errors import UserError

POSITIONAL = {"images": {"nargs": "*", "default": []}, "run": {}}
COMMON = {"json": "print the result as JSON, and nothing else on stdout", "debug": "show the traceback of an error"}

# Options of a training run: those that are used most, and the first of every other group, in the order of TrainConfig.
MOST_USED = ("config", "model", "dataset", "data_dir", "output_dir")
MOST_USED += ("epochs", "batch_size", "lr", "pretrained", "resume")
GROUPS = {
    "shifts": "network",
    "image_size": "data",
    "random_crop": "augmentation",
    "global_batch": "batches",
    "optimizer": "optimiser and schedule",
    "amp_level": "precision and devices",
    "drop_path_rate": "regularisation and randomness",
    "val_interval": "the run",
}


def parse(arguments: Sequence[str]) -> tuple[Callable, dict]:
    """The function that a command line names, and its keyword arguments (plus json and debug).

    Ends the process after --help and --version.

    Raises:
        UserError: a command or an option that is not there, with the nearest that is, or a value of the wrong type.
    """
    from jsonargparse import ArgumentError

    name, function, arguments = _find(list(arguments))
    parser = make_parser(name, function)
    _check_options(name, arguments, _options(parser))
    arguments = _gather(arguments, _lists(function))
    arguments = configs_first([*(resumed(arguments) if name == "train" else []), *arguments])
    arguments = [*(of_study(arguments) if name == "ablate" else []), *arguments]
    try:
        parsed = parser.parse_args(arguments)
    except ArgumentError as error:
        raise UserError(f"{_plain(str(error))}; see neonext {name} --help") from None
    return function, _keywords(function, parsed)


def _find(words: list[str]) -> tuple[str, Callable, list[str]]:
    """The command's name (that of its subject with it), its function, and the words after them."""
    choices, name = COMMANDS, ""
    while isinstance(choices, dict):
        if not name and words[:1] == ["--version"]:
            print(f"neonext_ms {__version__}")
            raise SystemExit(0)
        if words[:1] in (["-h"], ["--help"]) or not name and not words:
            print(_overview(name, choices))
            raise SystemExit(0)
        if not words:
            raise UserError(f"neonext {name} needs a subject: one of {', '.join(choices)}")
        word = words.pop(0)
        if word not in choices:
            kind = f"neonext {name} has no subject" if name else "neonext has no command"
            known = ", ".join(choices)
            raise UserError(f"{kind} {word!r}: {did_you_mean(word, choices) or f'use one of {known}'}")
        name, choices = f"{name} {word}".strip(), choices[word]
    return name, choices, words


def _overview(name: str, choices: dict) -> str:
    what = "SUBJECT" if name else "COMMAND"
    about = SUMMARIES[name] if name else "NeoNeXt in MindSpore: train, evaluate, export and run."
    width = 2 + max(map(len, choices))
    lines = [f"usage: neonext {name + ' ' if name else ''}{what} [options]", "", about, ""]
    for word, function in choices.items():
        summary = SUMMARIES[word] if isinstance(function, dict) else _summary(function)
        lines += textwrap.wrap(summary, 80, initial_indent=f"  {word:{width}}", subsequent_indent=" " * (2 + width))
    own = f"neonext {name + ' ' if name else ''}{what} --help"
    return "\n".join([*lines, "", f"The options of each: {own}" + ("" if name else "; --version prints the version.")])


def _summary(function: Callable) -> str:
    return function.__doc__.strip().splitlines()[0]


def make_parser(name: str, function: Callable):
    """The parser of one command, every option typed and described by its function's signature and docstring."""
    from docstring_parser import parse as parse_docstring
    from jsonargparse import ArgumentParser

    docstring = parse_docstring(function.__doc__)
    about = "\n\n".join(part for part in (docstring.short_description, docstring.long_description) if part)
    positional = [key for key in inspect.signature(function).parameters if key in POSITIONAL]
    usage = " ".join((f"neonext {name}", *(f"[{key}]" for key in positional), "[options]"))
    parser = ArgumentParser(prog=f"neonext {name}", usage=usage, description=about, exit_on_error=False)
    for key in positional:
        explained = next(parameter.description for parameter in docstring.params if parameter.arg_name == key)
        parser.add_argument(key, help=explained, **POSITIONAL[key])
    parser.add_function_arguments(function, as_group=False, skip={"config", *positional})
    if _configured(function):
        _add_configuration(parser, name)
    for key, explained in COMMON.items():
        parser.add_argument(f"--{key}", action="store_true", help=explained)
    return parser


def _configured(function: Callable) -> bool:
    """Whether the command takes the options of a training run."""
    return "config" in inspect.signature(function).parameters


def _add_configuration(parser, name: str):
    """The options of a training run, in groups; in full for `train`, of which the other commands know the same."""
    from argparse import SUPPRESS

    from neonext_ms.analysis.ablation import RECIPE
    from neonext_ms.training.config import TrainConfig

    parser.add_argument("--config", action="config", help="YAML file with any of the options of neonext train")
    TrainConfig.add_options(parser)
    parser.set_defaults(RECIPE if name == "ablate" else {})
    actions = {action.dest: action for action in parser._actions}
    own = parser._action_groups[1]
    most_used = parser.add_argument_group("most used options of a training run")
    for key in MOST_USED:
        _move(parser, actions[key], most_used)
    group = most_used
    for field in fields(TrainConfig):
        if field.name in GROUPS:
            group = parser.add_argument_group(GROUPS[field.name])
        if field.name not in MOST_USED:
            _move(parser, actions[field.name], group)
            if name != "train":
                actions[field.name].help = SUPPRESS
    if name == "train":  # which has no others
        parser._action_groups.remove(own)
        parser._action_groups.append(own)
    else:
        parser.epilog = "All other options of a training run are taken, too: neonext train --help explains them."


def _move(parser, action, group):
    """Let the help show an option in a group; what it does stays. argparse has no public way to do it later."""
    for other in parser._action_groups:
        if action in other._group_actions:
            other._group_actions.remove(action)
    group._group_actions.append(action)


def _options(parser) -> set[str]:
    """Names of all options, without dashes."""
    return {option.lstrip("-") for action in parser._actions for option in action.option_strings}


def _check_options(name: str, arguments: Iterable[str], known: set[str]):
    """Raises UserError for an option that the command does not have."""
    for word in arguments:
        if word == "--":
            return
        option = word[2:].partition("=")[0] if word.startswith("--") else ""
        if option and option not in known and option.rstrip("+") not in known:
            others = sorted(known - {"h", "help", *COMMON})
            listed = f"its options are --{', --'.join(others)}" if len(others) < 12 else f"see neonext {name} --help"
            raise UserError(f"neonext {name} has no option --{option}: {did_you_mean(option, known, '--') or listed}")


def _lists(function: Callable) -> dict[str, bool]:
    """Options that take several values: whether these are text, as 14 is among block sizes."""
    hints = dict(get_type_hints(function))
    if _configured(function):
        from neonext_ms.training.config import TrainConfig

        hints |= get_type_hints(TrainConfig)
    values = {f"--{name}": _values(hint) for name, hint in hints.items()}
    return {option: found[0] is str for option, found in values.items() if found}


def _values(hint) -> tuple:
    """The types of a list's values; () of what is no list."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(filter(None, map(_values, get_args(hint))), ())
    return get_args(hint) if get_origin(hint) in (list, tuple) else ()


def _gather(arguments: Sequence[str], lists: dict[str, bool]) -> list[str]:
    """--option a b, of an option that takes several values, as --option '[a, b]'."""
    gathered, words = [], list(arguments)
    while words:
        word = words.pop(0)
        option, equals, value = word.partition("=")
        gathered.append(option if option in lists else word)
        if option in lists:
            values = [value] if equals else []
            while words and not equals and not re.match(r"-(?!\d)", words[0]):
                values.append(words.pop(0))
            gathered += [_as_list(values, lists[option])] if values else []
    return gathered


def _as_list(values: list[str], are_text: bool) -> str:
    """The values of one option as YAML, those that are no numbers quoted; a single one may be a list already."""
    if len(values) == 1 and (values[0].startswith("[") or values[0] == "null"):
        return re.sub(r"(?<=[\[,])\s*([\d.+-]+)\s*(?=[],])", r'"\1"', values[0]) if are_text else values[0]
    plain = r"(?!)" if are_text else r"[-+.,\deE]+"
    return f"[{', '.join(value if re.fullmatch(plain, value) else json.dumps(value) for value in values)}]"


def _keywords(function: Callable, parsed) -> dict:
    options = {key: _at_home(value) for key, value in parsed.as_dict().items()}
    if _configured(function):
        from neonext_ms.training.config import TrainConfig

        of_the_run = {"config", *(field.name for field in fields(TrainConfig))}
        options = {key: value for key, value in options.items() if key not in of_the_run}
        options["config"] = TrainConfig.from_namespace(parsed)
    return options


def _at_home(value):
    """~ at the start of a path, which shells leave alone in --option=~/x; no other option begins so."""
    if isinstance(value, list):
        return [_at_home(part) for part in value]
    return os.path.expanduser(value) if isinstance(value, str) else value


def _plain(message: str) -> str:
    """A message of the parser, in the words of the command line."""
    message = " ".join(message.split()).rstrip(".")
    message = re.sub(r"(required: )(.*)$", lambda m: m[1] + ", ".join(f"--{key}" for key in m[2].split(", ")), message)
    message = re.sub(r'^Parser key "(\w+)": ', r"--\1: ", message)
    union = r"Does not validate against any of the Union subtypes Subtypes: \[(.*?), <class 'NoneType'>\] Errors: .* "
    message = re.sub(union + "Given value: ", r"Expected a \1 or null. Got value: ", message)
    message = re.sub(r"<class '(\w+)'>", r"\1", message)
    message = re.sub(r"typing\.Literal\[(.*?)\]", r"one of \1", message)
    message = re.sub(r"Expected an? (.*)\. Got value: ", r"expected \1, got ", message)
    message = re.sub(r"tuple\[(\w+), \.\.\.\]", r"\1 values", message)
    return re.sub(r"tuple with (\d+) elements, got ", r"\1 values with a space between, got ", message)
