"""What is said to be missing for CANN."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import setup
from neonext_ms.runtime.cann import PACKAGES, missing_packages
from tests.support.paths import ROOT


def test_missing_packages():
    def find(module):
        if module == "google.protobuf":
            raise ModuleNotFoundError("google")
        return None if module == "attr" else sys

    assert missing_packages(find) == ["attrs", "protobuf"]
    assert missing_packages(lambda module: sys) == []


def test_the_extra_installs_them():
    assert [requirement.partition(">")[0] for requirement in setup.EXTRAS["ascend"]] == list(PACKAGES)


def test_the_versions_that_are_named_are_those_that_mindspore_checks_for():
    check = Path(find_spec("mindspore").origin).parent / "run_check/_check_version.py"
    found = re.search(r"class AscendEnvChecker.*?self\.version = (\[.*?\])", check.read_text(), re.DOTALL)
    versions = re.findall(r"[\d.]+", found[1])
    assert f"MindSpore 2.10 accepts {versions[0]} to {versions[-1]}" in (ROOT / "ascend_kernels/README.md").read_text()
