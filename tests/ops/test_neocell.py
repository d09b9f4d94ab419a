"""NeoCell against the outputs of the authors' code and against the float64 reference."""

import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor, nn

from neonext_ms.ops import Group, NeoCell, reference

FIXTURE = np.load(Path(__file__).parent.parent / "fixtures" / "neocell_official.npz")
CASES = sorted({key.split("/")[0] for key in FIXTURE})
MODES = {"graph": ms.GRAPH_MODE, "pynative": ms.PYNATIVE_MODE}


class ForwardAndGradients(nn.Cell):
    """(y, dx, parameter gradients) of a cell for a given dy."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell
        self.weights = ms.ParameterTuple(cell.trainable_params())
        self.grad = ms.ops.GradOperation(get_all=True, get_by_list=True, sens_param=True)

    def construct(self, x, dy):
        return self.cell(x), self.grad(self.cell, self.weights)(x, dy)


def forward_and_gradients(cell, x, dy):
    """NumPy y, dx, [dleft...], [dright...], and dbias (or None) of a cell."""
    y, ((dx,), grads) = ForwardAndGradients(cell)(Tensor(x), Tensor(dy))
    grads = [g.asnumpy() for g in grads]
    count = len(cell.groups)
    bias = grads[2 * count] if cell.bias is not None else None
    return y.asnumpy(), dx.asnumpy(), grads[:count], grads[count : 2 * count], bias


def set_blocks(cell, left, right):
    for parameter, value in zip([*cell.left, *cell.right], [*left, *right]):
        parameter.set_data(Tensor(np.asarray(value, np.float32)))


def assert_close(actual, expected, relative):
    """Maximum difference at most relative x the largest expected value."""
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= relative * max(np.abs(expected).max(), 1e-30)


@pytest.fixture(params=MODES)
def mode(request):
    ms.set_context(mode=MODES[request.param])
    yield request.param
    ms.set_context(mode=ms.GRAPH_MODE)


@pytest.mark.parametrize("backend", ["dense", "patchwise"])
@pytest.mark.parametrize("case", CASES)
def test_official_outputs_and_gradients(case, backend, mode):
    data = {key.split("/")[1]: FIXTURE[key] for key in FIXTURE if key.startswith(case + "/")}
    groups = [Group.from_dict(fields) for fields in json.loads(str(data["specs"]))]
    cell = NeoCell(groups, backend=backend)
    count = range(len(groups))
    set_blocks(cell, [data[f"weight_a.{i}"] for i in count], [data[f"weight_b.{i}"] for i in count])
    y, dx, dleft, dright, _ = forward_and_gradients(cell, data["x"], data["dy"])
    assert_close(y, data["y"], 1e-5)
    assert_close(dx, data["dx"], 1e-5)
    for i in count:
        assert_close(dleft[i], data[f"grad_a.{i}"], 1e-5)
        assert_close(dright[i], data[f"grad_b.{i}"], 1e-5)
