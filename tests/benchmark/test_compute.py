"""The benchmark measures what it says, tells contenders apart and reports them in every form."""

import importlib.util
import itertools
import json
import time

import pytest

from neonext_ms.benchmark.cases import Settings
from neonext_ms.benchmark.compute import benchmark_compute
from neonext_ms.benchmark.compute_report import compute_table, draw_compute
from neonext_ms.benchmark.timing import Contender, Progress, measure
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

    progress = Progress(1)
    progress.begin("three")
    slow, fast, remote = measure(
        [
            Contender("slow", sleeper("slow", 0.05, 0.02), repeats=2),
            Contender("fast", sleeper("fast", 0.001, 0.002)),
            Contender("remote", lambda: 7.0),
        ],
        rounds=5,
        progress=progress,
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
    settings = Settings(("depthwise", "bfloat16"), 2, 2, "neonext_pico", 2, 32, SMALL)
    result = benchmark_compute(("operator", "block", "network", "step", "update"), settings)
    update = result["cases"].pop()
    assert update["what"] == "update" and update["shape"] == "1.2 M weights"
    assert [r["name"] for r in update["results"]] == ["neonext_pico", "copy"]
    assert all(r["ms"] > 0 for r in update["results"])
    found = {
        (case["what"], case["pass"], case["shape"]): [r["name"] for r in case["results"]] for case in result["cases"]
    }
    assert found["operator", "forward", "8 x 8 x 8"] == ["NeoCell", "kernel alone", "copy", "depthwise 7 x 7"]
    assert found["operator", "forward + backward", "8 x 8 x 8"] == ["NeoCell", "kernel alone", "depthwise 7 x 7"]
    assert found["block", "forward + backward", "8 x 8 x 8"] == ["NeoNeXt block", "NeoNeXt block, bfloat16 products"]
    both = ["neonext_pico", "neonext_pico, bfloat16 products"]
    assert found["network", "forward + backward", "3 x 32 x 32"] == both
    assert found["network", "forward", "3 x 32 x 32"] == [name + form for name in both for form in ("", ", folded")]
    assert all(case["n"] == 2 and r["ms"] > 0 for case in result["cases"] for r in case["results"])
    assert result["machine"]["cores"] >= 1 and result["machine"]["vectors"].split()[0] in (
        "avx512",
        "avx2",
        "neon",
        "plain",
    )


def test_other_formulations():
    result = benchmark_compute(("operator",), Settings(("dense", "patchwise"), rounds=5, batch_size=2, stages=SMALL))
    for case in result["cases"]:
        times = {r["name"]: r["ms"] for r in case["results"]}
        assert case["ratios"] == {
            "patchwise / dense": times["patchwise"] / times["dense"],
            "dense / NeoCell": times["dense"] / times["NeoCell"],
            "patchwise / NeoCell": times["patchwise"] / times["NeoCell"],
            "kernel alone / NeoCell": times["kernel alone"] / times["NeoCell"],
        }


def test_table_and_picture(tmp_path):
    table = compute_table(RESULT)
    assert "| operator 8 x 8 x 8, forward | 2  | NeoCell   | 1.000 | 0.900 - 1.200 | 1.00 " in table
    assert "| dense     | 2.500 | 2.400 - 2.700 | 2.50 " in table
    assert "| dense / fused (paper: 3) |" in table
    assert "| operator 8 x 8 x 8, forward | 2.50 " in table
    assert "P, 2 cores, load 0.5" in table and "MindSpore 2.10.0." in table
    draw_compute(RESULT, tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


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
        (["everything"], "no subject 'everything': use one of operator, block, "),
        (["step", "--against", "openvino"], "one of 'dense', 'bfloat16', 'torch', 'torch-compile', 'torch-bf16', got "),
        (["block", "--against", "depthwise"], "'torch-bf16', got depthwise;"),
        *(
            ([subject, "--rounds", "1"], "at least 2 rounds, got 1")
            for subject in ("step", "compute", "layers", "data")
        ),
        (["block", "--authors", "x"], "neonext benchmark block has no option --authors: its options are --against, "),
        (["layers", "--output", "x.png"], "neonext benchmark layers has no option --output: its options are "),
        (["operator", "--model_batch_size", "2"], "has no option --model_batch_size: did you mean --batch_size?"),
        (["data", "--worker", "2"], "has no option --worker: did you mean --workers?"),
    ],
)
def test_mistakes_are_named_before_anything_is_measured(capsys, arguments, words):
    with pytest.raises(SystemExit) as end:
        main(["benchmark", *arguments])
    out, err = capsys.readouterr()
    assert end.value.code == 2 and out == "" and err.count("\n") == 1 and words in err, err


@pytest.mark.parametrize(
    "contender, package", [*((name, "torch") for name in ("torch", "torch-compile", "wbmm")), ("openvino", "openvino")]
)
def test_a_contender_that_is_not_installed_is_named_with_its_package(monkeypatch, contender, package):
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else found("json"))
    message = f"^--against {contender} needs {package}, which is not installed: .*python.* -m pip install {package}$"
    with pytest.raises(UserError, match=message):
        benchmark_compute(["operator"], Settings([contender]))
