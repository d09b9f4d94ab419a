"""JSON that others may have written, into frozen dataclasses: what does not fit is named in one line."""

import json
import reprlib
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import TypeVar, Union, get_args, get_origin, get_type_hints

from neonext_ms.errors import UserError

LARGEST = 1 << 53  # of whole numbers: what every reader of JSON holds exactly
_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "an object"}
_WORDS |= {NoneType: "null"}

T = TypeVar("T")


def parse_json(data: bytes) -> dict:
    """The object in a JSON file.

    Raises:
        ValueError: it is no such file, or holds NaN or Infinity, which JSON does not have.
    """
    try:
        values = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("it is no JSON object")
    return values


def _refuse_constant(name: str):
    raise ValueError(f"it holds {name}, which is no number")


def read_fields(cls: type[T], values, where: str) -> T:
    """A dataclass from an object with exactly its fields; those that are dataclasses themselves are read likewise.

    Args:
        cls: with type hints of int, float, str, bool, None, tuples, dicts, and unions of them.
        values: as JSON gives them.
        where: what they are, for messages.

    Raises:
        UserError: names the first field that is missing, unknown, or of another type, and what it should be.
    """
    hints = get_type_hints(cls)
    if not isinstance(values, dict):
        raise UserError(f"{where} must be an object with {', '.join(hints)}, got {shown(values)}")
    if missing := [key for key in hints if key not in values]:
        raise UserError(f"{where}: {missing[0]} is missing")
    if unknown := [key for key in values if key not in hints]:
        raise UserError(f"{where}: {shown(unknown[0])} is not known; there are {', '.join(hints)}")
    read = {}
    for name, hint in hints.items():
        inner = next((part for part in (hint, *get_args(hint)) if is_dataclass(part)), None)
        optional = NoneType in get_args(hint)
        if inner and not (optional and values[name] is None):
            read[name] = read_fields(inner, values[name], f"{where}: {name}")
        else:
            read[name] = check_type(values[name], hint, f"{where}: {name}")
    try:
        return cls(**read)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def check_type(value, hint, what: str):
    """The value if it is of this type, lists as tuples.

    Raises:
        UserError: it is not.
    """
    if not _fits(value, hint):
        raise UserError(f"{what} must be {_in_words(hint)}, got {shown(value)}")
    return tuple(value) if isinstance(value, list) else value


def shown(value) -> str:
    """A value in a message: not all of a long one, and nothing in it that ends the line."""
    return reprlib.repr(value)


def readable(name: str) -> str:
    """A name of a file from others in a message: as it is, unless it is long or would break the line."""
    return name if name.isprintable() and len(name) <= 120 else shown(name)


def _fits(value, hint) -> bool:
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if kind is tuple:
        if not isinstance(value, list | tuple) or (parts[-1] is not ... and len(value) != len(parts)):
            return False
        return all(_fits(item, part) for item, part in zip(value, _repeated(parts, len(value))))
    if kind in (int, float):
        numbers = int if kind is int else (int, float)
        # abs(): of an int that no float holds, math.isfinite would be an error.
        return isinstance(value, numbers) and not isinstance(value, bool) and abs(value) <= LARGEST
    return isinstance(value, kind)


def _repeated(parts: tuple, count: int) -> tuple:
    return parts[:1] * count if parts[-1] is ... else parts


def _in_words(hint) -> str:
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return " or ".join(map(_in_words, parts))
    if kind is tuple:
        number = "" if parts[-1] is ... else f"{len(parts)} "
        return f"a list of {number}entries, each {_in_words(parts[0])}"
    return _WORDS.get(kind, getattr(kind, "__name__", str(kind)))
