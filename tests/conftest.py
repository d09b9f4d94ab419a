"""Shared fixtures and settings of the tests."""

import gc
import os
import signal
import tempfile
from pathlib import Path

import pytest

from ascend_kernels.emulator.library import Emulator, build_library
from tests.support.once import made_once

# MindSpore reads these when it is first imported: only errors on the terminal, no files in the working directory.
os.environ.setdefault("GLOG_v", "3")
os.environ.setdefault("MS_OM_PATH", tempfile.gettempdir())
# Where the tests run in the background of a shell or under nohup, these are ignored, and all that is started here would
# ignore them as well.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)


def pytest_collection_modifyitems(items):
    """Files with slow tests first: a long file that is begun last leaves the other processes without work."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def _operators_at_once():
    """Without MindSpore's queues of operators, whose threads wait in loops: a fifth of test_terms.py's time.

    Tests of both modes and what runs in processes of its own have them.
    """
    import mindspore as ms

    ms.set_context(pynative_synchronize=True)


@pytest.fixture(scope="module", autouse=True)
def _few_objects_to_collect():
    """MindSpore collects garbage after every compilation, which otherwise looks at all imported modules each time.

    It makes so many objects then that Python would look for garbage all the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


@pytest.fixture(scope="session")
def emulator_folder(tmp_path_factory):
    """The Ascend kernels on the emulator: library and object files."""
    return made_once(tmp_path_factory, "emulator", build_library)


@pytest.fixture(scope="session")
def emulator_library(emulator_folder):
    """The library, or that which NEO_CELL_LIBRARY names."""
    return Path(os.environ.get("NEO_CELL_LIBRARY") or emulator_folder / "libneocell.so").resolve()


@pytest.fixture(scope="session")
def emulator(emulator_library) -> Emulator:
    """That library as Python calls it."""
    return Emulator(emulator_library)


@pytest.fixture(params=["graph", "pynative"])
def mode(request):
    """A test runs in both of MindSpore's modes."""
    import mindspore as ms

    before = ms.get_context("mode")
    eager = request.param == "pynative"
    ms.set_context(mode=ms.PYNATIVE_MODE if eager else ms.GRAPH_MODE, pynative_synchronize=not eager)
    yield request.param
    ms.set_context(mode=before, pynative_synchronize=True)
