"""The benchmark of artefacts measures every form that was asked for, in a process of its own."""

import json

import pytest

from neonext_ms.benchmark.artefact import artefact_table, benchmark_artefacts
from neonext_ms.errors import UserError


def test_every_form_and_batch_size_is_measured(checkpoint, exported_onnx):
    rows = benchmark_artefacts([checkpoint, exported_onnx[0]], [1, 3], rounds=2)
    forms = ["network", "folded", "dense network", "dense folded", "onnxruntime"]
    assert [(row["form"], row["batch_size"]) for row in rows] == [(form, size) for size in (1, 3) for form in forms]
    for row in rows:
        assert 0 < row["low_ms"] <= row["ms"] <= row["high_ms"]
        assert row["images_per_second"] == pytest.approx(1e3 * row["batch_size"] / row["ms"])
        assert row["times_the_first"] == pytest.approx(row["ms"] / rows[0 if row["batch_size"] == 1 else 5]["ms"])
        assert 0 < row["peak_mb"] < 2000
    table = artefact_table(rows).splitlines()
    assert len(table) == 12 and "any.onnx" in table[6] and "onnxruntime" in table[6]


def test_what_cannot_be_measured_is_refused(checkpoint, tmp_path):
    with pytest.raises(UserError, match="not a clone of the authors' repository"):
        benchmark_artefacts([checkpoint], [1], 2, authors=tmp_path)
    for models, sizes, message in (
        ([], [1], "needs models"),
        (["x.pb"], [1], "cannot measure x.pb"),
        ([tmp_path / "gone.onnx"], [1], "no exported model .*gone.onnx"),
    ):
        with pytest.raises(UserError, match=message):
            benchmark_artefacts(models, sizes, 2)


def test_what_fails_when_it_runs_is_named(exported_onnx, tmp_path):
    """Here by a card that promises images of another size."""
    path, card = exported_onnx
    (tmp_path / path.name).write_bytes(path.read_bytes())
    preprocess, given = {**card["preprocess"], "image_size": 64}, {**card["input"], "shape": [None, 3, 64, 64]}
    card = {**card, "preprocess": preprocess, "input": given}
    (tmp_path / f"{path.name}.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=r"cannot run .*any.onnx \(onnxruntime\): .*dimension") as error:
        benchmark_artefacts([tmp_path / path.name], [1], 2)
    assert "\n" not in str(error.value)
