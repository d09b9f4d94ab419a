"""The benchmark runs both pipelines and counts what they deliver; its speeds are not tested."""

from neonext_ms.benchmark import data as data_benchmark
from neonext_ms.benchmark.data import benchmark_data, data_table


def test_both_pipelines_on_small_files(monkeypatch):
    monkeypatch.setattr(data_benchmark, "SIZES", {"small": (120, 100, 64)})
    monkeypatch.setattr(data_benchmark, "SIDE", 32)
    rows = benchmark_data((1,), 2)
    assert [(row["jpeg"], row["pipeline"], row["workers"]) for row in rows] == [
        ("small", "neonext_ms", 1),
        ("small", "mindspore", 1),
    ]
    for row in rows:
        assert 0 < row["lowest"] <= row["images_per_second"] <= row["highest"]
    assert rows[0]["scaling"] == 1 and rows[0]["ratio"] > 0
    lines = data_table(rows).splitlines()
    assert len(lines) == 4 and "| neonext_ms | 1 " in lines[2] and "| mindspore  | 1 " in lines[3]
    assert lines[2].endswith(f"| {rows[0]['ratio']:.2f}           | 1.00              |")


def test_both_pipelines_deliver_every_image(tmp_path):
    data_benchmark.make_jpegs(tmp_path, 120, 100, 128)
    for start in (data_benchmark._ours, data_benchmark._mindspores):
        run = start(str(tmp_path), 1, 2)
        assert run() == run() == 256
