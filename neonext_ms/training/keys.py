"""What a key of the configuration knows about itself, besides its type, its default and its text."""

import math
import re
from dataclasses import dataclass, field, fields

from neonext_ms.checks import plain
from neonext_ms.errors import UserError

SAME, FREE = "same", "free"


@dataclass(frozen=True)
class Range:
    """Values that a number may have; bounds that are left out are none."""

    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        bounds = (("at least", self.least), ("above", self.above), ("at most", self.most), ("below", self.below))
        return " and ".join(f"{words} {bound}" for words, bound in bounds if not math.isinf(bound))


def key(default, allowed: Range | None = None, *, on_resume: str = SAME, on_ranks: str = SAME):
    """A field of a configuration.

    Args:
        default: its value where none is given.
        allowed: its range, if the type allows more; a default of None is allowed besides.
        on_resume: whether a run that goes on may have another value: FREE for what changes neither the weights that
            come out nor which data they see.
        on_ranks: whether the ranks of a job may have different values: FREE for what machines have in another place or
            number.
    """
    return field(default=default, metadata={"allowed": allowed, "on_resume": on_resume, "on_ranks": on_ranks})


def free(config, when: str) -> frozenset[str]:
    """The keys of a configuration that are FREE `on_resume` or `on_ranks`."""
    return frozenset(f.name for f in fields(config) if f.metadata.get(when) == FREE)


def steps(text: str | None, name: str) -> range:
    """Numbers of updates, "10-15" or "10"; None is none of them. `name` is that of the key.

    Raises:
        UserError: the text is no range.
    """
    if text is None:
        return range(0)
    match = re.fullmatch(r"([0-9]{1,12})(?:-([0-9]{1,12}))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last:
        raise UserError(f"{name} must be a range of updates such as 10-15, counted from 1, got {text!r}")
    return range(first, last + 1)


def check(config):
    """Raise a UserError for the first value that is out of its range, or missing; NumPy's integers become Python's."""
    for f in fields(config):
        value, allowed = plain(getattr(config, f.name)), f.metadata.get("allowed")
        object.__setattr__(config, f.name, tuple(map(plain, value)) if isinstance(value, tuple) else value)
        if value is None:
            if f.default is not None:
                raise UserError(f"{f.name} is null: give it a value, or leave it out for {f.default!r}")
        elif allowed and value not in allowed:
            or_null = " or null" * (f.default is None)
            raise UserError(f"{f.name} must be {allowed}{or_null}, got {value}")
