"""Values that a user gives."""

from numbers import Integral

from neonext_ms.errors import UserError


def plain(value):
    """A NumPy integer as Python's, which JSON, YAML and MindSpore take; anything else as it is."""
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def whole_number(name: str, value, least: int) -> int:
    """An integer of any kind as Python's.

    Raises:
        UserError: it is none, or below `least`.
    """
    value = plain(value)
    if type(value) is not int or value < least:
        raise UserError(f"{name} must be an integer of at least {least}, got {value!r}")
    return value
