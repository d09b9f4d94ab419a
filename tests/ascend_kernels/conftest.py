"""Fixtures: the emulator is compiled once a session, into a temporary folder."""

import pytest

from ascend_kernels.emulator.library import Emulator, build_library, build_objects


@pytest.fixture(scope="session")
def emulator(tmp_path_factory) -> Emulator:
    """The kernels on the emulator (or on the library that NEO_CELL_LIBRARY names)."""
    return Emulator(build_library(tmp_path_factory.mktemp("emulator")))


@pytest.fixture(scope="session")
def emulator_objects(tmp_path_factory):
    """The emulator's own object files, without kernels: what test kernels and mutants are linked with."""
    return build_objects(tmp_path_factory.mktemp("objects"))
