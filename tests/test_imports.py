"""The house keeps its floors: nothing imports upward, sideways between neighbours, or in a circle."""

import ast
import re
from graphlib import CycleError, TopologicalSorter

import pytest

import neonext_ms
from tests.support.paths import ROOT

PACKAGE = ROOT / "neonext_ms"


def floors(text: str) -> dict[str, int]:
    """Room -> floor, 0 the lowest, from the drawing in a docstring: the upper floor first, its rooms between commas."""
    lines = re.findall(r"^    ([a-z_]+(?:, [a-z_]+)*)$", text, re.MULTILINE)
    return {room: i for i, line in enumerate(reversed(lines)) for room in line.split(", ")}


FLOORS = floors(neonext_ms.__doc__)


def modules() -> dict[str, ast.Module]:
    """Every module of the package by name, and what its file holds."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(name: str, tree: ast.Module, known) -> set[str]:
    """Modules of the package that a module imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(full if full in known else node.module for full in whole)
    return {module for module in found if module in known and module != "neonext_ms"}


def room(module: str) -> str:
    return module.split(".")[1]


def upward(name: str, imported: set[str]) -> list[str]:
    """The imports of a module that leave its room, but not downward."""
    own = room(name)
    return [f"{name} -> {other}" for other in imported if room(other) != own and FLOORS[room(other)] >= FLOORS[own]]


MODULES = modules()
IMPORTS = {name: imports(name, tree, MODULES) for name, tree in MODULES.items()}
INSIDE = [name for name in MODULES if name not in ("neonext_ms", "neonext_ms.__main__")]


def test_every_room_has_a_floor():
    assert {room(name) for name in INSIDE} == set(FLOORS)


@pytest.mark.parametrize("own", sorted(FLOORS))
def test_a_room_imports_only_from_the_floors_below(own):
    assert [line for name in INSIDE if room(name) == own for line in upward(name, IMPORTS[name])] == []


def test_no_imports_in_a_circle():
    # A package's __init__ offers names of its own modules, which therefore may not ask the package for them.
    try:
        list(TopologicalSorter({name: IMPORTS[name] for name in INSIDE}).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize(
    "module, source, expected",
    [
        ("neonext_ms.ops.x", "def f():\n    from neonext_ms.models import create_model", ["neonext_ms.models"]),
        ("neonext_ms.deploy.x", "import neonext_ms.training.trainer", ["neonext_ms.training.trainer"]),
        ("neonext_ms.training.x", "from neonext_ms.ops import NeoCell\nfrom neonext_ms.training import config", []),
    ],
)
def test_the_check_sees(module, source, expected):
    """Imports inside functions, neighbours on one floor; and it lets pass what points downward or stays inside."""
    seen = upward(module, imports(module, ast.parse(source), MODULES))
    assert seen == [f"{module} -> {other}" for other in expected]
