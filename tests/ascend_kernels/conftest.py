"""Fixtures of the kernel tests; the emulator itself is shared with the tests of the binding."""

import pytest

from ascend_kernels.emulator.library import build_objects


@pytest.fixture(scope="session")
def emulator_objects(tmp_path_factory):
    """The emulator's own object files, without kernels: what test kernels and mutants are linked with."""
    return build_objects(tmp_path_factory.mktemp("objects"))
