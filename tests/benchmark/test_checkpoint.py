"""The benchmark of checkpoints counts steps beside a save and without; its times are not tested."""

from itertools import count
from types import SimpleNamespace

import pytest
from mindspore import nn

from neonext_ms.benchmark.checkpoint import _manifest, _windows, benchmark_checkpoint, checkpoint_table
from neonext_ms.errors import UserError
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.run.folder import RunFolder
from neonext_ms.training.run.progress import Progress
from neonext_ms.training.run.reporter import Reporter
from neonext_ms.training.run.saver import Saver
from tests.support.tiny import TinyConfig


def test_steps_beside_a_save_and_without(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    result = benchmark_checkpoint("neonext_pico", 2, 32, 2)
    assert result["quiet"]["steps"] >= 2 * 10 and result["writing"]["steps"] >= 2
    for what in ("quiet", "writing"):
        row = result[what]
        assert 0 < row["low_ms"] <= row["median_ms"] <= row["high_ms"] <= row["p95_ms"]
    assert result["ratio"] == result["writing"]["median_ms"] / result["quiet"]["median_ms"]
    assert 3 * 4 * 1.19 < result["megabytes"] < 3 * 4 * 1.6, "weights and two moments of 1.19 million and the head's"
    assert 0 < 1e-3 * result["pause_ms"] < result["seconds"]
    lines = checkpoint_table(result).splitlines()
    assert lines[2].startswith("| nothing else ") and lines[3].startswith("| while a checkpoint is written ")
    assert f"a checkpoint of {result['megabytes']:.0f} MB" in lines[-1]
    assert not list(tmp_path.iterdir()), "nothing is left"
    with pytest.raises(UserError, match="at least 2 rounds, got 1"):
        benchmark_checkpoint("neonext_pico", 2, 32, 1)


def test_the_round_that_compiles_is_not_counted(tmp_path):
    folder = RunFolder(tmp_path / "run", "neonext_pico", keep=2)
    reporter = Reporter(TinyConfig(), folder, 1, Progress(2, 0, 1))
    saver = Saver(nn.Dense(4, 4), SimpleNamespace(shared=False, state=dict), folder, Ranks(0, 1, "CPU"), reporter)
    calls = count()
    quiet, _, pauses, seconds = _windows(
        lambda: 60.0 if next(calls) < 10 else 1.0, saver, _manifest("neonext_pico", 32), 2
    )
    folder.close()
    assert set(quiet) == {1.0} and len(quiet) >= 2 * 10 and len(pauses) == len(seconds) == 2
