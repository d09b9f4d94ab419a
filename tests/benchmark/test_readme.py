"""Every table of the benchmarks' README is one that a command there writes."""

import re

import pytest

from neonext_ms.analysis.profile import profile_rows, profile_table
from neonext_ms.commands import COMMANDS
from neonext_ms.commands.parser import parse
from neonext_ms.models import list_models
from tests.support.paths import ROOT

PATH = ROOT / "neonext_ms" / "benchmark" / "README.md"
TEXT = PATH.read_text(encoding="utf-8")
TABLES = re.findall(r"<!-- (\w+): begin -->", TEXT)
LINES = re.findall(r"^neonext ((?:benchmark )?(\w+) .*?)(?: +#.*)?$", TEXT, re.MULTILINE)


def table_of(line, subject):
    """What the table of a command is called."""
    precision = re.search("--matmul_precision (.+?) ", line)
    return f"{subject}_{precision[1]}" if precision else subject


@pytest.mark.parametrize("subject", TABLES)
def test_a_command_writes_it(subject):
    ((line, command),) = (found for found in LINES if table_of(*found) == subject)
    function, options = parse(line.split())
    assert function is {**COMMANDS, **COMMANDS["benchmark"]}[command]
    assert ROOT / options["readme"] == PATH
    (marked,) = re.findall(rf"<!-- {subject}: begin -->\n(.*?)\n<!-- {subject}: end -->", TEXT, re.DOTALL)
    assert marked.startswith("| ") or marked == "not measured yet"


def test_the_models_are_those_of_the_profile():
    assert f"<!-- profile: begin -->\n{profile_table(profile_rows(list_models(), 224))}\n<!-- profile: end -->" in TEXT


def test_nothing_is_pasted():
    own = re.sub(r"<!-- (\w+): begin -->.*?<!-- \1: end -->", "", TEXT, flags=re.DOTALL)
    tables = [part for part in own.split("\n\n") if part.startswith("|")]
    assert [table.partition("\n")[0] for table in tables] == ["| file | what |"]
