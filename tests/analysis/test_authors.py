"""The authors' code is run from a clone of theirs, of which there is none here: a stand-in of the same shape."""

import sys

import pytest

from neonext_ms.analysis.authors import AuthorsCode, check_clone
from neonext_ms.errors import UserError

BUILDER = """
from extension_builder.builder import CUDAOpBuilder
class NeoNeXtBuilder(CUDAOpBuilder):
    def __init__(self):
        super().__init__(name="neonext", src_root="somewhere")
"""
UTILS = """
def get_kernel_spec(spec, channels, shift):
    return [spec, channels, shift]
class NeoCellCPP:
    def __init__(self, specs):
        self.specs = specs
"""
NETWORKS = """
def neonext_t():
    print("settings")
    return "tiny"
"""


@pytest.fixture
def clone(tmp_path, monkeypatch):
    package = tmp_path / "ptvision" / "models" / "neonext"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .builder import NeoNeXtBuilder\nNeoNeXtBuilder()\n")
    for name, text in (("builder", BUILDER), ("neonext_utils", UTILS), ("neonext", NETWORKS)):
        (package / f"{name}.py").write_text(text)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


def test_operator_and_network_come_from_the_clone(clone, capsys):
    check_clone(clone)
    code = AuthorsCode(clone)
    assert code.cell("4+7", 96, 1).specs == ["4+7", 96, 1]
    assert code.network("neonext_t") == "tiny"
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match="no network 'neonext_pico'"):
        code.network("neonext_pico")


def test_another_folder_is_refused(clone):
    (clone / "ptvision" / "models" / "neonext" / "builder.py").unlink()
    with pytest.raises(UserError, match="not a clone of the authors' repository: it has no .*builder.py"):
        check_clone(clone)
