"""What the README prints is what the program says."""

import re

from neonext_ms.analysis.profile import profile_rows, profile_table
from neonext_ms.cli import COMMANDS
from neonext_ms.models import list_models
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_models_table_is_the_profiles():
    table = profile_table(profile_rows(list_models(), 224)).split("\n\n")[0]
    assert table in README


def test_every_command_and_every_recipe_is_listed():
    assert set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)) == set(COMMANDS)
    names = re.sub(r"`(\w+)_\{(\w),(\w),(\w)\}(\w+\.yaml)`", r"\1_\2\5 \1_\3\5 \1_\4\5", README)
    missing = [path.name for path in (ROOT / "configs").glob("*.yaml") if path.name not in names]
    assert not missing


def test_files_that_the_readme_names_exist():
    for name in re.findall(r"(?:configs|scripts|neonext_ms|tests)/[\w./-]+\.(?:yaml|sh|py)", README):
        assert (ROOT / name).is_file(), name
