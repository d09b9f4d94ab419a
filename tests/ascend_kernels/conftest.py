"""Fixtures of the kernel tests; the emulator itself is shared with the tests of the binding."""

import pytest

from ascend_kernels.emulator.library import SOURCES


@pytest.fixture(scope="session")
def emulator_objects(emulator_folder):
    """The emulator's own object files, without kernels: what test kernels and mutants are linked with."""
    return [emulator_folder / f"{name}.o" for name in SOURCES if name != "kernels"]
