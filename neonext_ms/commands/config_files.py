"""Configuration files that a command line names, as options before all others."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from neonext_ms.errors import UserError
from neonext_ms.texts import read_yaml


def resumed(arguments: Sequence[str]) -> list[str]:
    """The configuration of the run that is to go on, as an option: what is given besides counts more."""
    from argparse import ArgumentParser

    from neonext_ms.training.run.resume import own_configuration

    parser = ArgumentParser(add_help=False)
    for key in ("resume", "output_dir"):
        parser.add_argument(f"--{key}", nargs="?")
    given, _ = parser.parse_known_args(arguments)
    path = own_configuration(given.resume, given.output_dir)
    return [f"--config={path}"] if path else []


def of_study(arguments: Sequence[str]) -> list[str]:
    """The configuration in the file of a study, as an option: what is given besides counts more."""
    from argparse import ArgumentParser

    import yaml

    parser = ArgumentParser(add_help=False)
    parser.add_argument("--study", nargs="?")
    given, _ = parser.parse_known_args(arguments)
    if not given.study:
        return []
    from neonext_ms.analysis.study_file import read_study

    path = Path(given.study).expanduser()
    config = read_study(path)[0]
    _check_keys(path, config)
    return [f"--config={yaml.safe_dump(config)}"] if config else []


def configs_first(arguments: Sequence[str]) -> list[str]:
    """Files before options, so that an option counts wherever it stands; their keys are looked at."""
    files, others, words = [], [], list(arguments)
    while words:
        word = words.pop(0)
        if word == "--config" and words:
            files.append(words.pop(0))
        elif word.startswith("--config="):
            files.append(word.partition("=")[2])
        else:
            others.append(word)
    texts = (_configuration(Path(file).expanduser()) for file in files)
    return [*(f"--config={text}" for text in texts if text), *others]


def _configuration(path: Path) -> str:
    """The YAML text of a file, "" if it sets nothing.

    Raises UserError for a key that no configuration has; what is wrong with the values, the parser says.
    """
    text, keys = read_yaml(path)
    if not isinstance(keys, dict | None):
        raise UserError(f"{path} is not a configuration: expected lines such as 'epochs: 20'")
    _check_keys(path, keys or ())
    return text if keys else ""


def _check_keys(path: Path, keys: Iterable):
    """Raises UserError for a key that no configuration has, and names the nearest that is there."""
    from neonext_ms.training.config import TrainConfig

    known = {field.name for field in fields(TrainConfig)}
    for key in map(str, keys):
        if key not in known:
            near = did_you_mean(key, known)
            raise UserError(f"{path}: unknown key {key!r}: {near or 'see neonext train --help'}")


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(word.lower(), sorted(known), 1)
    return f"did you mean {prefix}{near[0]}?" if near else ""
