"""Names of a package whose modules are imported when they are first asked for."""

from collections.abc import Callable
from importlib import import_module


def lazy(module: dict, names: dict[str, str]) -> tuple[Callable, Callable]:
    """A package's `__getattr__` and `__dir__`.

    Args:
        module: its globals().
        names: of what it offers, and the module of each.
    """

    def getattr_(name: str):
        if name in names:
            return getattr(import_module(names[name]), name)
        raise AttributeError(f"module {module['__name__']!r} has no attribute {name!r}")

    def dir_() -> list[str]:
        return sorted({*module, *names})

    return getattr_, dir_
