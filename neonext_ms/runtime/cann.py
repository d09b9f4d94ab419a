"""What CANN needs on this machine besides itself, so that its lack is told before a job starts and not within it."""

import importlib.util
from collections.abc import Callable

# Python packages that CANN's own Python parts import, and the module of each.
PACKAGES = {
    "attrs": "attr",
    "decorator": "decorator",
    "sympy": "sympy",
    "cffi": "cffi",
    "pathlib2": "pathlib2",
    "requests": "requests",
    "absl-py": "absl",
    "protobuf": "google.protobuf",
}


def missing_packages(find: Callable = importlib.util.find_spec) -> list[str]:
    """Those of them that are not installed here."""
    return [package for package, module in PACKAGES.items() if not _is_there(find, module)]


def _is_there(find: Callable, module: str) -> bool:
    try:
        return find(module) is not None
    except ModuleNotFoundError:  # of the package that it is part of
        return False
