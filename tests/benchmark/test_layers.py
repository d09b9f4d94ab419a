"""The benchmark of layers accounts for all of a network and relates its products to the processor's peak."""

import json

import pytest

from neonext_ms.analysis.profile import layer_costs
from neonext_ms.benchmark import layers as layer_benchmark
from neonext_ms.benchmark.graphs import random_tensor
from neonext_ms.benchmark.layers_report import layers_table
from neonext_ms.cli import main
from neonext_ms.models.neonext import NeoNeXtSpec
from neonext_ms.models.registry import SPECS


def test_all_of_a_network_is_accounted_for(monkeypatch, capsys, tmp_path):
    # Few layers, which compile in little time.
    spec = NeoNeXtSpec((2, 1), (8, 16), ("4+7", "7"), (1, 0))
    monkeypatch.setitem(SPECS, "small", spec)
    monkeypatch.setattr(layer_benchmark, "CHAIN", 2)
    readme = tmp_path / "README.md"
    marks = "<!-- layers: begin -->\nold\n<!-- layers: end -->\n<!-- layers_bfloat16: begin -->\n{}\n"
    readme.write_text(marks.format("old") + "<!-- layers_bfloat16: end -->\n")
    sizes = ["--model", "small", "--model_batch_size", "2", "--image_size", "32", "--rounds", "2"]
    sizes += ["--matmul_precision", "bfloat16"]
    with pytest.raises(SystemExit) as end:
        main(["benchmark", "layers", *sizes, "--readme", str(readme), "--json"])
    assert end.value.code == 0
    result = json.loads(capsys.readouterr().out)
    table = layers_table(result)
    assert readme.read_text() == marks.format(table) + "<!-- layers_bfloat16: end -->\n"
    assert result["matmul_precision"] == "bfloat16"

    costs = {name: cost.macs_patchwise for name, cost in layer_costs(spec, 32, 32).items()}
    forward = sum(costs.values())
    for name, macs in (("forward", forward), ("forward + backward", 3 * forward - costs["stem"])):
        timed = result["passes"][name]
        counts = {}
        for layer in timed["layers"]:
            counts[layer["kind"]] = counts.get(layer["kind"], 0) + layer["count"]
        once = dict.fromkeys(("stem", "head"), 1)
        assert counts == {**once, "down-sampling": 1, **dict.fromkeys(("NeoCell", "BatchNorm, MLP, addition"), 3)}
        total = sum(layer["count"] * layer["ms"] for layer in timed["layers"])
        assert total + timed["rest_ms"] == pytest.approx(timed["network_ms"])
        assert sum(layer["share"] for layer in timed["layers"]) == pytest.approx(total / timed["network_ms"])
        # Operations: two a multiply-accumulate, of two images.
        products = [layer for layer in timed["layers"] if layer["gflops"]]
        assert sum(p["count"] * p["ms"] * p["gflops"] for p in products) == pytest.approx(4e-6 * macs)
        assert all(p["peak_share"] == pytest.approx(p["gflops"] / timed["peak_gflops"]) for p in products)


def test_with_a_gate_a_block_is_one_layer(monkeypatch, mode):
    spec = NeoNeXtSpec((2, 1), (8, 16), ("4+7", "7"), (1, 0), gate=True)
    monkeypatch.setitem(SPECS, "small", spec)
    images = random_tensor((2, 3, 32, 32))
    layers = list(layer_benchmark._layers("small", 1000, images, False))
    counts = [layer.count for layer in layers if layer.kind == "BatchNorm, gated MLP with NeoCell, addition"]
    assert counts == [2, 1] and len(layers) == 5
    costs = layer_costs(spec, 32, 32).values()
    assert sum(layer.count * layer.macs for layer in layers) == sum(cost.macs_patchwise for cost in costs)
    assert all(layer.cell(layer.x).shape == layer.out for layer in layers)


def _layer(kind, shape, ms, gflops):
    share, peak_share = 3 * ms / 50, gflops / 200 if gflops else None
    return {
        "kind": kind,
        "shape": shape,
        "count": 3,
        "ms": ms,
        "share": share,
        "gflops": gflops,
        "peak_share": peak_share,
    }


def test_table_with_sums_and_rest():
    layers = [
        _layer("MLP", "8 x 8 x 8", 6.0, 100.0),
        _layer("MLP", "8 x 4 x 4", 2.0, 60.0),
        _layer("norm", "8", 4.0, None),
    ]
    timed = {"network_ms": 50.0, "rest_ms": 14.0, "peak_gflops": 200.0, "layers": layers}
    machine = {"processor": "P", "cores": 2, "load": 0.5, "vectors": "avx2", "mindspore": "2.10.0", "torch": None}
    result = {"machine": machine, "model": "m", "n": 2, "image_size": 32, "matmul_precision": "bfloat16"}
    table = layers_table({**result, "passes": {"forward": timed, "forward + backward": timed}})
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n\n")[0].splitlines()]
    found = {row[0]: row[1:6] for row in cells}
    assert found["MLP 8 x 8 x 8"] == ["3", "6.00", "36.0 %", "100", "50.0 %"]
    assert found["all MLP"] == ["6", "24.00", "48.0 %", "90", "45.0 %"]
    assert found["norm 8"] == ["3", "4.00", "24.0 %", "", ""] and "all norm" not in found
    assert found["rest"] == ["", "14.00", "28.0 %", "", ""]
    assert found["m"] == ["1", "50.00", "100.0 %", "", ""]
    assert "float32, products in bfloat16, medians" in table
    assert "Peak: 200 and 200 GFLOP/s, a loop of multiply-adds in bfloat16 on all" in table and "P, 2 cores" in table
