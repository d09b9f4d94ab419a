"""The installed operator package: it is found, its operators are taken, and what is missing is named."""

import json

import mindspore as ms
import numpy as np
import pytest

from neonext_ms.analysis.environment import environment
from neonext_ms.errors import UserError
from neonext_ms.models.layers import Block
from neonext_ms.models.pointwise import Pointwise
from neonext_ms.ops import NeoCell, parse_spec
from neonext_ms.ops.ascend.neocell import AscendNeoCell
from neonext_ms.ops.ascend.operator import INSTALLED
from neonext_ms.ops.ascend.package import OPERATORS, ascend_package, missing_for_operators
from neonext_ms.ops.fallback import Unavailable

THERE = {"ASCEND_OPP_PATH": "/usr/local/Ascend/latest/opp"}


def test_what_the_binding_of_operators_needs():
    assert missing_for_operators(THERE, lambda name: "/usr/bin/g++") == ""
    assert "g++" in missing_for_operators(THERE, lambda name: None)
    assert "set_env.sh" in missing_for_operators({}, lambda name: "/usr/bin/g++")


def install(folder, family, names=OPERATORS):
    """A package as MindSpore finds it: a list of operators and their library."""
    listed = folder / "op_impl/ai_core/tbe/config" / family / f"aic-{family}-ops-info.json"
    library = folder / "op_api/lib/libcust_opapi.so"
    for path in (listed, library):
        path.parent.mkdir(parents=True, exist_ok=True)
    listed.write_text(json.dumps({name: {} for name in names}))
    library.touch()
    return folder


def test_package_is_found(tmp_path):
    other = install(tmp_path / "other", "ascend910b", ["AddCustom"])
    mine = install(tmp_path / "opp/vendors/neonext", "ascend910b")
    install(mine, "ascend910_93")
    for chip in ("Ascend910B1", "Ascend910B4-1", "Ascend910_9392", "Ascend910_9362"):
        assert ascend_package(chip, {"ASCEND_CUSTOM_OPP_PATH": f"{other}:{mine}"}) == mine
        assert ascend_package(chip, {"ASCEND_CUSTOM_OPP_PATH": "", "ASCEND_OPP_PATH": f"{tmp_path}/opp"}) == mine


@pytest.mark.parametrize("chip", ["Ascend910A", "Ascend910B", "Ascend910ProB", "Ascend310P3", "Ascend910_9589"])
def test_other_chips_are_named(tmp_path, chip):
    package = install(tmp_path, "ascend910b")
    with pytest.raises(Unavailable, match=rf"for Ascend 910B and 910_93, and this is {chip}$"):
        ascend_package(chip, {"ASCEND_CUSTOM_OPP_PATH": str(package)})


def test_incomplete_packages_are_refused(tmp_path):
    half = install(tmp_path / "half", "ascend910b", ["NeoCell", "NeoCellKron"])
    broken = install(tmp_path / "broken", "ascend910b")
    (broken / "op_api/lib/libcust_opapi.so").unlink()
    wrong = install(tmp_path / "wrong", "ascend910_93")
    for path in ("", "nowhere", half, broken, wrong):
        with pytest.raises(Unavailable, match="not installed for ascend910b: run `bash ascend_kernels/build.sh`"):
            ascend_package("Ascend910B2", {"ASCEND_CUSTOM_OPP_PATH": str(path)})


@pytest.fixture
def ascend(monkeypatch):
    """MindSpore set to Ascend, on this machine without NPUs."""
    context = ms.get_context
    monkeypatch.setattr(ms, "get_context", lambda key: "Ascend" if key == "device_target" else context(key))


@pytest.fixture
def npu(ascend, monkeypatch):
    """MindSpore's answers on a machine with an NPU."""
    monkeypatch.setattr(ms.hal, "get_device_name", lambda *_: "Ascend910B2")
    monkeypatch.delenv("ASCEND_CUSTOM_OPP_PATH", raising=False)
    monkeypatch.delenv("ASCEND_OPP_PATH", raising=False)


def test_npu_without_package(npu, warnings):
    cells = [NeoCell(parse_spec("7", 24)) for _ in range(3)]
    assert all(cell.backend == "dense" and cell.fused is None for cell in cells)
    (record,) = warnings.records
    assert "dense backend: the AscendC operators are not installed" in record.message
    with pytest.raises(UserError, match="'fused' is not available: the AscendC operators are not installed"):
        NeoCell(parse_spec("7", 24), backend="fused")


def test_no_npu_is_counted(ascend, warnings):
    """MindSpore raises where it is asked for the chip's name."""
    assert NeoCell(parse_spec("7", 24)).backend == "dense"
    (record,) = warnings.records
    assert "MindSpore finds no NPU" in record.message and "\n" not in record.message
    with pytest.raises(UserError, match="'fused' is not available: MindSpore finds no NPU"):
        NeoCell(parse_spec("7", 24), backend="fused")


def test_npu_with_package(npu, warnings, monkeypatch, tmp_path):
    """The operators are those installed."""
    monkeypatch.setenv("ASCEND_OPP_PATH", str(tmp_path / "opp"))
    monkeypatch.setenv("ASCEND_CUSTOM_OPP_PATH", str(install(tmp_path, "ascend910b")))
    block = Block(parse_spec("7", 24), np.random.default_rng(0))
    assert isinstance(block.neocell.fused, AscendNeoCell) and not warnings.records
    product = block.neocell.fused.product
    branch = block.branch.kept
    found = (product.two_stage, product.kron, product.gradient)
    found += (Pointwise(24, 24, False, np.random.default_rng(0)).fused.kept.forward, block.branch.hidden, branch.hidden)
    found += (branch.residual, block.branch.whole, branch.gradients.input_gradient, branch.hidden_gradient)
    names = [operator.func for operator in (*found, branch.gradients.weight_gradient)]
    assert names == [f"{INSTALLED}{name}" for name in OPERATORS]
    backend = environment()["NeoCell backend"]
    assert backend == f"fused (AscendC operators for float16 and bfloat16: {tmp_path})"
