"""Fixtures of the training's tests."""

import pytest

from neonext_ms.training.run.folder import RunFolder
from tests.support.saves import save


@pytest.fixture
def folder(tmp_path):
    """Of a run that has saved its first step."""
    folder = RunFolder(tmp_path / "run", "pico", keep=2)
    save(folder, 1)
    return folder
