"""Parameters and multiply-accumulates by arithmetic against built and running networks, and the paper's Table 1."""

from collections import Counter

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

import neonext_ms.models.pointwise
import neonext_ms.ops.dense
import neonext_ms.ops.matmul
import neonext_ms.ops.patchwise
from neonext_ms import create_model, list_models
from neonext_ms.analysis.profile import layer_costs, profile_rows, profile_table
from neonext_ms.errors import UserError
from neonext_ms.models.neonext import NeoNeXt, NeoNeXtSpec


def parameters_by_part(network):
    """Trainable parameters of stem, stages.i.j, downsamples.i and head."""
    counts = Counter()
    for parameter in network.trainable_params():
        path = parameter.name.split(".")
        depth = {"stem": 1, "head": 1, "downsamples": 2, "stages": 3}[path[0]]
        counts[".".join(path[:depth])] += parameter.size
    return dict(counts)


@pytest.mark.parametrize(
    ("name", "num_classes"),
    [*(("neonext_pico", classes) for classes in (10, 0)), *((f"neonext_t{v}", 1000) for v in ("", "_v2", "_v3"))],
)
def test_parameters_of_every_part_are_those_of_the_built_network(name, num_classes):
    network = create_model(name, num_classes, seed=0)
    costs = layer_costs(network.spec, 224, 224, num_classes)
    assert {part: cost.parameters for part, cost in costs.items()} == parameters_by_part(network)


@pytest.mark.parametrize(("backend", "count"), [("dense", "macs_dense"), ("patchwise", "macs_patchwise")])
def test_macs_are_those_of_the_matrix_products_that_run(backend, count, monkeypatch):
    """Counted in a running network whose blocks divide its planes, so that the patch-wise form pads nothing."""
    spec = NeoNeXtSpec((1, 2), (6, 10), kernels=("4+2", "2"), shifts=(0, 0), linear_bias=True, layer_scale=0.1)
    network = NeoNeXt(spec, 5, backend=backend, seed=0)
    n, h, w = 2, 32, 48
    products = []

    def counting(a, b):
        y = neonext_ms.ops.matmul.matmul(a, b)
        products.append(y.size * a.shape[-1])
        return y

    for module in (neonext_ms.ops.dense, neonext_ms.ops.patchwise, neonext_ms.models.pointwise):
        monkeypatch.setattr(module, "matmul", counting)
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        network(Tensor(np.zeros((n, 3, h, w), np.float32)))
    finally:
        ms.set_context(mode=ms.GRAPH_MODE)
    classifier = spec.dims[-1] * 5  # a dense layer, the only product that is not written as matmul
    assert sum(products) // n + classifier == sum(getattr(c, count) for c in layer_costs(spec, h, w, 5).values())


@pytest.mark.parametrize(
    ("name", "patchwise", "dense"),
    [("neonext_t", 4.378, 4.53), ("neonext_s", 8.559, 8.73), ("neonext_b", 15.188, 15.42)],
)
def test_paper_models_at_224(name, patchwise, dense):
    (row,) = profile_rows([name], 224)
    assert round(row["macs_patchwise"] / 1e9, 3) == patchwise
    assert round(row["macs_dense"] / 1e9, 2) == dense
    assert round(row["parameters"] / 1e6, 1) == row["paper_parameters_m"]
    # the paper prints 4.40, 8.60, 15.19
    assert row["macs_patchwise"] / 1e9 == pytest.approx(row["paper_gmacs"], rel=0.006)


def test_parameters_of_the_paper_t():
    assert profile_rows(["neonext_t"], 224)[0]["parameters"] == 27_682_888


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("neonext_s", 49.608),
        ("neonext_b", 87.254),
        ("neonext_l", 194.213),
        ("neonext_t_v2", 27.533),
        ("neonext_s_v2", 49.271),
        ("neonext_b_v2", 86.805),
        ("neonext_l_v2", 193.539),
        ("neonext_s_v3", 52.595),
        ("neonext_b_v3", 85.482),
    ],
)
def test_parameters_of_the_other_models(name, millions):
    (row,) = profile_rows([name], 224)
    assert round(row["parameters"] / 1e6, 3) == millions
    assert (row["paper_gmacs"] is None) == (name not in ("neonext_s", "neonext_b"))


@pytest.mark.parametrize("name", list_models("*_v3"))
@pytest.mark.parametrize("size", [32, 224, 384])
def test_a_gate_at_the_papers_cost(name, size):
    """Whichever size: the rule by which the form was chosen."""
    gated, paper = (row["macs_patchwise"] for row in profile_rows([name, name.removesuffix("_v3")], size))
    assert 0.95 < gated / paper < 1.05


@pytest.mark.parametrize(("name", "patchwise"), [("neonext_t", 12.86), ("neonext_s", 25.15), ("neonext_b", 44.63)])
def test_neither_count_gives_the_papers_384_column(name, patchwise):
    (row,) = profile_rows([name], 384)
    assert round(row["macs_patchwise"] / 1e9, 2) == patchwise
    assert row["macs_patchwise"] / 1e9 < 0.99 * row["paper_gmacs"]
    assert row["macs_dense"] / 1e9 > 1.01 * row["paper_gmacs"]


def test_table_has_a_line_for_each_row_and_names_the_mismatch_only_where_it_is_shown():
    rows = profile_rows(list_models(), 224)
    lines = profile_table(rows).splitlines()
    assert [line.split()[1] for line in lines[2 : 2 + len(rows)]] == list_models()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        *("neonext_t", "224", "27.683", "27.7", "4.378", "4.531", "4.40")
    ]
    assert len({len(line) for line in lines[: 2 + len(rows)]}) == 1
    assert "neither" not in profile_table(rows)
    assert "neither" in profile_table(profile_rows(["neonext_t"], 384))


def test_small_networks_are_told_in_millions():
    lines = profile_table(profile_rows(["neonext_pico"], 32, 10)).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[5:7]] == ["MMACs patch-wise", "MMACs dense"]
    assert [cell.strip() for cell in lines[2].split("|")[5:7]] == ["3.178", "3.193"]
    assert "MMACs: 10^6" in lines[4]


@pytest.mark.parametrize(
    ("models", "size", "message"),
    [(["neonext_q"], 224, "unknown model 'neonext_q'"), (["neonext_t"], 30, "30 x 30"), (["neonext_t"], 16, "16 x 16")],
)
def test_bad_input_is_one_line(models, size, message):
    with pytest.raises(UserError, match=message) as error:
        profile_rows(models, size)
    assert "\n" not in str(error.value)
