"""The benchmark measures what it says, tells contenders apart and reports them in every form."""

import itertools
import json
import time

import pytest

from neonext_ms.benchmark.compute import benchmark
from neonext_ms.benchmark.table import benchmark_table, plot_benchmark, update_readme
from neonext_ms.benchmark.timing import Contender, measure
from neonext_ms.cli import main
from neonext_ms.errors import UserError

SMALL = ((8, 8, "4", 1),)
RESULT = {
    "machine": {"processor": "P", "cores": 2, "load": 0.5, "vectors": "avx2", "mindspore": "2.10.0", "torch": None},
    "cases": [
        {
            "what": "operator",
            "pass": "forward",
            "shape": "8 x 8 x 8",
            "n": 2,
            "results": [
                {"name": "NeoCell", "ms": 1.0, "low_ms": 0.9, "high_ms": 1.2, "first_ms": 100.0},
                {"name": "dense", "ms": 2.5, "low_ms": 2.4, "high_ms": 2.7, "first_ms": 200.0},
            ],
            "ratios": {"dense / NeoCell": 2.5},
        }
    ],
}


def test_rounds_are_interleaved_and_first_calls_apart():
    calls = []

    def sleeper(name, first, later):
        def run():
            calls.append(name)
            time.sleep(first if calls.count(name) == 1 else later)

        return run

    slow, fast, remote = measure(
        [
            Contender("slow", sleeper("slow", 0.05, 0.02), repeats=2),
            Contender("fast", sleeper("fast", 0.001, 0.002)),
            Contender("remote", lambda: 7.0),
        ],
        rounds=5,
    )
    turns = [name for name, _ in itertools.groupby(calls)]
    assert turns == ["slow", "fast"] * 7  # first calls, warm-up, five rounds
    assert calls[:4] == turns[:4] and calls[4:6] == ["slow"] * 2, "a short run is timed after others of its own"
    assert 10 <= slow["ms"] < 18 and slow["first_ms"] >= 50
    assert slow["low_ms"] <= slow["ms"] <= slow["high_ms"]
    assert fast["ms"] < slow["ms"]
    assert remote["ms"] == 7000.0
    assert [r["rounds"] for r in (slow, fast, remote)] == [5, 5, 3]  # ten seconds are enough of one


def test_every_part_is_measured():
    result = benchmark(
        ("operator", "block", "network", "step"),
        ("depthwise",),
        rounds=2,
        batch_size=2,
        model="neonext_pico",
        model_batch_size=2,
        image_size=32,
        stages=SMALL,
    )
    found = {
        (case["what"], case["pass"], case["shape"]): [r["name"] for r in case["results"]] for case in result["cases"]
    }
    assert found["operator", "forward", "8 x 8 x 8"] == ["NeoCell", "kernel alone", "copy", "depthwise 7 x 7"]
    assert found["operator", "forward + backward", "8 x 8 x 8"] == ["NeoCell", "kernel alone", "depthwise 7 x 7"]
    assert found["block", "forward + backward", "8 x 8 x 8"] == ["NeoNeXt block"]
    assert found["network", "forward", "3 x 32 x 32"] == ["neonext_pico"]
    assert found["network", "forward + backward", "3 x 32 x 32"] == ["neonext_pico"]
    assert all(r["ms"] > 0 for case in result["cases"] for r in case["results"])
    assert result["machine"]["cores"] >= 1 and result["machine"]["vectors"] in ("avx512", "avx2", "neon", "plain")


def test_other_formulations():
    result = benchmark(("operator",), ("dense", "patchwise"), rounds=5, batch_size=2, stages=SMALL)
    for case in result["cases"]:
        times = {r["name"]: r["ms"] for r in case["results"]}
        assert case["ratios"] == {
            "patchwise / dense": times["patchwise"] / times["dense"],
            "dense / NeoCell": times["dense"] / times["NeoCell"],
            "patchwise / NeoCell": times["patchwise"] / times["NeoCell"],
            "kernel alone / NeoCell": times["kernel alone"] / times["NeoCell"],
        }


def test_table_and_picture(tmp_path):
    table = benchmark_table(RESULT)
    assert "| operator 8 x 8 x 8, forward | 2 | NeoCell   | 1.000 | 0.900 - 1.200 | 1.00 " in table
    assert "| dense     | 2.500 | 2.400 - 2.700 | 2.50 " in table
    assert "| dense / fused (paper: 3) |" in table
    assert "| operator 8 x 8 x 8, forward | 2.50 " in table
    assert "P, 2 cores, load 0.5" in table and "MindSpore 2.10.0." in table
    plot_benchmark(RESULT, tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


def test_readme_keeps_what_is_around_the_table(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("above\n<!-- benchmark: begin -->\nold\n<!-- benchmark: end -->\nbelow\n")
    update_readme(readme, "new")
    assert readme.read_text() == "above\n<!-- benchmark: begin -->\nnew\n<!-- benchmark: end -->\nbelow\n"
    readme.write_text("no marks")
    with pytest.raises(UserError, match="add the lines"):
        update_readme(readme, "new")
    assert readme.read_text() == "no marks"


def test_command_prints_json(capsys):
    sizes = ["--model", "neonext_pico", "--model_batch_size", "2", "--image_size", "32"]
    with pytest.raises(SystemExit) as end:
        main(["benchmark", "network", "--rounds", "2", *sizes, "--json"])
    assert end.value.code == 0
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    assert case["what"] == "network" and case["results"][0]["name"] == "neonext_pico"


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((["everything"], []), "operator, block"),
        ((["step"], ["jax"]), "dense, patchwise"),
        ((["step"], [], 1), "2 rounds"),
    ],
)
def test_mistakes_are_named(arguments, words):
    what, against, *rounds = arguments
    with pytest.raises(UserError, match=words):
        benchmark(what, against, rounds=rounds[0] if rounds else 2)


def test_torch_is_asked_for_but_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install torch"):
        benchmark(["operator"], ["torch"])
