"""The authors' code is run from a clone of theirs, of which there is none here: a stand-in of the same shape."""

import importlib.util
import sys
import types

import pytest

from neonext_ms import create_model
from neonext_ms.deploy.convert.authors import AuthorsCode, check_clone, network_arguments
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
class NeoNeXt:
    def __init__(self, **arguments):
        print("settings")
        self.arguments = arguments
    def load_state_dict(self, state):
        self.state = state
    def eval(self):
        self.training = False
        return self
def neonext_t():
    return NeoNeXt()
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


def test_operator_and_networks_come_from_the_clone(clone, capsys, monkeypatch):
    code = AuthorsCode(clone)
    assert code.cell("4+7", 96, 1).specs == ["4+7", 96, 1]
    assert code.network("neonext_t").arguments == {}
    loaded = types.SimpleNamespace(load=lambda file, weights_only: {file: weights_only})
    monkeypatch.setitem(sys.modules, "torch", loaded)
    network = code.build({"num_classes": 3}, "x.pt")
    assert (network.arguments, network.state, network.training) == ({"num_classes": 3}, {"x.pt": True}, False)
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match="no network 'neonext_pico'"):
        code.network("neonext_pico")


def test_arguments_are_those_of_the_structure():
    """By the names of their NeoNeXt; only what it can express."""
    small = {"depths": (1, 1, 2, 1), "dims": (8, 8, 8, 8)}
    network = create_model("neonext_t_v2", 7, seed=0, layer_scale=0.5, **small)
    assert network_arguments(network) == {
        "num_classes": 7,
        "per_stage_layers": [1, 1, 2, 1],
        "dims": [8, 8, 8, 8],
        "shifts": [1, 1, 1, 0],
        "layer_scale_init_value": 0.5,
        "linear_bias": True,
        "kernel_spec": "4+7",
    }
    assert network_arguments(create_model("neonext_t", 7, seed=0, **small))["kernel_spec"] == "default"
    with pytest.raises(UserError, match="no network of kernels"):
        network_arguments(create_model("neonext_t", 7, seed=0, kernels=("4", "7", "7", "7"), **small))


def test_another_folder_is_refused_and_so_is_a_machine_without_pytorch(clone, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    check_clone(clone)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="the authors' PyTorch code needs torch, .* -m pip install torch$"):
        check_clone(clone)
    (clone / "ptvision" / "models" / "neonext" / "builder.py").unlink()
    with pytest.raises(UserError, match="not a clone of the authors' repository: it has no .*builder.py"):
        check_clone(clone)
