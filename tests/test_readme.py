"""What the documentation prints is what there is."""

import re

import pytest

from neonext_ms.cli import COMMANDS
from tests.support.paths import ROOT

DOCUMENTS = [
    path for path in sorted(ROOT.rglob("*.md")) if not path.relative_to(ROOT).parts[0].startswith((".", "runs"))
]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_is_listed():
    assert set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)) == set(COMMANDS)


def test_every_recipe_is_listed():
    text = (ROOT / "configs" / "README.md").read_text(encoding="utf-8")
    names = re.sub(r"`(\w+)_\{(\w),(\w),(\w)\}(\w+\.yaml)`", r"\1_\2\5 \1_\3\5 \1_\4\5", text)
    assert [path.name for path in (ROOT / "configs").glob("*.yaml") if path.name not in names] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_exists(document):
    text = document.read_text(encoding="utf-8")
    links = [document.parent / link for link in re.findall(r"\]\((?!https?:|#)([^)#]+)\)", text)]
    files = [ROOT / name for name in re.findall(r"(?:configs|scripts|neonext_ms|tests)/[\w./-]+\.(?:yaml|sh|py)", text)]
    assert [str(path) for path in links + files if not path.exists()] == []


def test_the_readme_answers_on_a_few_screens():
    assert len(README.splitlines()) <= 160
