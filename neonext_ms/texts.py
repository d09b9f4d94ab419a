"""Texts that people and programs wrote, in any usual encoding, the YAML in them, and the JSON that is written."""

import codecs
import json
import math
from collections import Counter
from itertools import accumulate
from pathlib import Path

from neonext_ms.errors import UserError
from neonext_ms.files import read_regular

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_MOST_YAML = 32 << 10  # bytes; a complete configuration has four thousand
_MOST_DEPTH = 50  # brackets
_MOST_VALUES = 10_000  # with those that aliases repeat


def to_json(value, indent: int | None = None) -> str:
    """A value as JSON, which has no NaN and no infinity: such a number is the text "nan", "inf" or "-inf"."""
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_without_nan(value), indent=indent, allow_nan=False)


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return str(float(value)) if isinstance(value, float) and not math.isfinite(value) else value


def read_text(path: str | Path) -> str:
    """Read a UTF-8 file, or one of UTF-16 or UTF-32 that says so by a byte order mark, which is taken off.

    Raises: UserError: it cannot be read, or is in another encoding.
    """
    try:
        data = read_regular(path)
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}") from None
    return decode_text(data, str(path))


def decode_text(data: bytes, name: str) -> str:
    """`read_text` for bytes that have been read; name: of what they come from, for messages."""
    mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
    try:
        text = data[len(mark) :].decode(_MARKS.get(mark, "utf-8"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, len(mark) + error.start) + 1
        raise UserError(
            f"line {line} of '{name}' is not {error.encoding} (byte 0x{error.object[error.start]:02x}): save the file "
            "as UTF-8"
        ) from None
    if "\0" in text:
        raise UserError(f"'{name}' holds zero bytes, as UTF-16 without a byte order mark does: save it as UTF-8")
    return text


def read_yaml(path: str | Path) -> tuple[str, object]:
    """The text of a YAML file, and its value.

    Raises: UserError: it cannot be read, is no YAML, is far too large, written out or through aliases of aliases, or
        names a key twice, of which the first would count for nothing.
    """
    import yaml

    text = read_text(path)
    if len(text) > _MOST_YAML:
        raise UserError(f"'{path}' has {len(text)} characters, and a configuration at most {_MOST_YAML}")
    # PyYAML takes seconds to find that thousands of brackets are too many; in a configuration there are two.
    steps = ((character in "[{") - (character in "]}") for character in text)
    if max(accumulate(steps), default=0) > _MOST_DEPTH:
        raise UserError(f"cannot read the configuration '{path}': more than {_MOST_DEPTH} brackets are open at once")
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return text, None
        _check_yaml(node, str(path), {})
        return text, loader.construct_document(node)
    except UserError:
        raise
    # What PyYAML raises on values that are not what their tags say, and on deep ones.
    except (
        yaml.YAMLError,
        ValueError,
        LookupError,
        ArithmeticError,
        AttributeError,
        TypeError,
        RecursionError,
    ) as error:
        raise UserError(f"cannot read the configuration '{path}': {' '.join(str(error).split())[:200]}") from None


def _check_yaml(node, name: str, sizes: dict) -> int:
    """How many values a YAML node stands for; sizes: of those that were seen, None while they are being counted."""
    import yaml

    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in sizes:
        sizes[id(node)] = None
        inside = node.value
        if isinstance(node, yaml.MappingNode):
            names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            if twice := [key for key, count in names.items() if count > 1]:
                line = max(key.start_mark.line for key, _ in node.value if key.value == twice[0]) + 1
                raise UserError(
                    f"'{name}' names the key '{twice[0]}' twice, again in line {line}: leave one of them out"
                )
            inside = [part for pair in node.value for part in pair]
        sizes[id(node)] = 1 + sum(_check_yaml(part, name, sizes) for part in inside)
    size = sizes[id(node)]
    if size is None or size > _MOST_VALUES:
        raise UserError(
            f"'{name}' has more than {_MOST_VALUES} values, or repeats itself, through aliases: write them out"
        )
    return size
