"""Shared fixtures and settings of the tests."""

import os
import tempfile

import pytest

from ascend_kernels.emulator.library import Emulator, build_library

# MindSpore reads these when it is first imported: only errors on the terminal, no files in the working directory.
os.environ.setdefault("GLOG_v", "3")
os.environ.setdefault("MS_OM_PATH", tempfile.gettempdir())


@pytest.fixture(scope="session")
def emulator_library(tmp_path_factory):
    """The Ascend kernels on the emulator (or the library that NEO_CELL_LIBRARY names), compiled once a session."""
    return build_library(tmp_path_factory.mktemp("emulator")).resolve()


@pytest.fixture(scope="session")
def emulator(emulator_library) -> Emulator:
    """That library as Python calls it."""
    return Emulator(emulator_library)
