"""The file of a study: what all runs have in common, and what each variant has otherwise."""

import re
from dataclasses import fields, replace
from pathlib import Path

import yaml

from neonext_ms.analysis.study import Study
from neonext_ms.errors import UserError
from neonext_ms.texts import read_yaml
from neonext_ms.training.config import TrainConfig

_OF_THE_STUDY = ("seed", "output_dir", "resume")  # which variants cannot have


def read_study(path: Path) -> tuple[dict, dict[str, dict]]:
    """(keys of the configuration, for each variant its label and its own keys) of a YAML file.

    Args:
        path: of a file with `config`, keys of neonext train, and `variants`: by name the keys that replace those of
            config, and a `label` for people; {} is config itself.

    Raises:
        UserError: the file is none of these.
    """
    values = read_yaml(path)[1]
    if not isinstance(values, dict) or set(values) != {"config", "variants"}:
        raise UserError(f"{path} is no study: expected the keys config and variants")
    for key in ("config", "variants"):
        if not isinstance(values[key], dict):
            raise UserError(f"{path}: {key} must have keys of its own, got {values[key]!r}")
    known = {"label", *(field.name for field in fields(TrainConfig))} - set(_OF_THE_STUDY)
    for name, own in values["variants"].items():
        if not re.fullmatch(r"[\w.+-]+", str(name)):
            raise UserError(
                f"{path}: a variant's name is part of file names, so letters, digits and _.+-, got {name!r}"
            )
        if not isinstance(own, dict):
            raise UserError(f"{path}: variant {name} must be keys of neonext train, or {{}}, got {own!r}")
        if unknown := [key for key in own if key not in known]:
            raise UserError(f"{path}: variant {name} cannot have the key {unknown[0]!r}")
    return values["config"], {str(name): own for name, own in values["variants"].items()}


def make_study(path: Path, config: TrainConfig) -> Study:
    """The study of a file.

    Args:
        path: as for `read_study`.
        config: of all runs, as the file has it and the command line has changed it; its output_dir may be null for a
            folder below runs/.

    Raises:
        UserError: as `read_study`, or a variant with values that no configuration can have.
    """
    variants = read_study(path)[1]
    config = replace(config, output_dir=config.output_dir or f"runs/{Path(path).stem}")
    made = {}
    for name, own in variants.items():
        keys = {key: value for key, value in own.items() if key != "label"}
        made[name] = _with(config, keys, f"{path}: variant {name}")
    return Study(config, made, {name: str(own.get("label", name)) for name, own in variants.items()})


def _with(config: TrainConfig, keys: dict, where: str) -> TrainConfig:
    """A configuration with other values, of the types that the keys have."""
    from jsonargparse import ArgumentError

    values = yaml.safe_load(config.to_yaml()) | keys
    try:
        made = TrainConfig.from_text(yaml.safe_dump(values))
    except (ArgumentError, UserError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from None
    return replace(made, output_dir=config.output_dir)
