"""What is said to be missing for CANN."""

import sys

import setup
from neonext_ms.runtime.cann import PACKAGES, missing_packages


def test_missing_packages():
    def find(module):
        if module == "google.protobuf":
            raise ModuleNotFoundError("google")
        return None if module == "attr" else sys

    assert missing_packages(find) == ["attrs", "protobuf"]
    assert missing_packages(lambda module: sys) == []


def test_the_extra_installs_them():
    assert [requirement.partition(">")[0] for requirement in setup.EXTRAS["ascend"]] == list(PACKAGES)
