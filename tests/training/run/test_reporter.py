"""What a run reports: the share of time that it waits for data, its warning, and TensorBoard's curves."""

import json
import struct
import time

import pytest
from tensorboardX.proto.event_pb2 import Event

from neonext_ms.errors import UserError
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.run import trackers
from neonext_ms.training.run.folder import RunFolder
from neonext_ms.training.run.progress import Progress
from neonext_ms.training.run.reporter import SLOW_AFTER, Reporter
from neonext_ms.training.trainer import train
from tests.support.tiny import TinyConfig, assembled

METRICS = {"loss": 1.5, "accuracy": 0.25, "lr": 1e-3, "images_per_second": 100.0, "data_wait": 0.0}


def batches(count, seconds):
    for i in range(count):
        time.sleep(seconds)
        yield i


def waited(loader, device, steps=4, drain=0.0):
    """Progress after some steps whose batches take `loader` seconds and whose computation blocks for `device`."""
    progress = Progress(steps=100, evaluations=1, images_per_step=2)
    progress.begin()
    for _ in progress.waiting(batches(steps, loader)):
        time.sleep(device)
    return progress, progress.steps(steps, drain)


def test_data_wait_is_the_share_of_time_that_the_loader_takes():
    progress, (rate, wait) = waited(loader=0.03, device=0.01)
    assert 0.6 < wait < 0.9 and progress.data_wait == wait
    assert rate == pytest.approx(8 / progress.step_seconds)
    assert waited(loader=0.0, device=0.01)[1][1] < 0.2


def test_waiting_beside_a_device_that_works_is_no_loss():
    """A device that takes 20 ms a step hides as much of the loader's 30 ms, and all of a loader's 10 ms."""
    progress, (_, wait) = waited(loader=0.03, device=0.0, drain=0.02)
    assert 0.2 < wait < 0.6
    assert waited(loader=0.01, device=0.0, drain=0.2)[1][1] == 0


def test_what_waits_is_counted_once_and_added_up():
    progress, _ = waited(loader=0.02, device=0.0)
    first = progress.wait_seconds
    time.sleep(0.02)
    assert progress.steps(1, 0.0)[1] == 0 and progress.wait_seconds == first
    assert progress.data_wait == pytest.approx(first / progress.step_seconds)


def test_waiting_keeps_no_batch_and_passes_errors_on():
    class Batch:
        alive = 0

        def __init__(self):
            Batch.alive += 1

        def __del__(self):
            Batch.alive -= 1

    def loader():
        for _ in range(3):
            assert Batch.alive <= 1, "at most the one that the loop has just let go"
            yield Batch()
        raise UserError("bad data")

    with pytest.raises(UserError, match="bad data"):
        for _ in Progress(3, 1, 1).waiting(loader()):
            pass


def reported(tmp_path, share, steps, **options):
    """A reporter that was told of `steps` steps, in four reports, which waited for data for this share of the time."""
    config = TrainConfig(**options)
    progress = Progress(100, 1, 2)
    reporter = Reporter(config, RunFolder(tmp_path / "run", "neonext_pico", 1), 100, progress)
    reporter.trackers.start({})
    for i in range(1, 5):
        progress.step_seconds += 1.0
        progress.wait_seconds += share
        progress.steps_done += steps // 4
        reporter.steps(1, i, i, {**METRICS, "data_wait": share})
    return reporter


@pytest.mark.parametrize("share, steps, expected", [(0.5, 40, 1), (0.1, 40, 0), (0.9, SLOW_AFTER - 4, 0)])
def test_a_loader_that_is_the_bottleneck_is_named_once_with_the_fix(tmp_path, caplog, share, steps, expected):
    reported(tmp_path, share, steps, num_workers=3)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == expected
    for text in warnings:
        assert "wait for data 50 % of their time" in text and "num_workers (3 now" in text and "pack" in text


def test_every_report_has_the_data_wait_share(tmp_path, caplog):
    caplog.set_level("INFO", "neonext_ms")
    reported(tmp_path, 0.25, 40)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["data_wait"] for line in lines] == [0.25] * 4
    assert sum("100 images/s  data wait 25 %" in record.getMessage() for record in caplog.records) == 4


def records(data):
    """Of a TFRecord file: each is its length, a checksum of that, itself, and a checksum."""
    while data:
        (length,) = struct.unpack_from("<Q", data)
        yield data[12 : 12 + length]
        data = data[16 + length :]


def test_tensorboard_gets_what_metrics_jsonl_gets(tmp_path):
    reporter = reported(tmp_path, 0.25, 40, tensorboard=True)
    result = {"epoch": 1, "step": 4, "loss": 0.5, "accuracy": 0.75, "images": 360}
    reporter.evaluation(result, is_best=True, seconds=1.0)
    (file,) = (tmp_path / "run" / "tensorboard").iterdir()
    curves = {}
    for event in map(Event.FromString, records(file.read_bytes())):
        for value in event.summary.value:
            curves.setdefault(value.tag, []).append((event.step, value.simple_value))
    assert curves["train/loss"] == [(step, 1.5) for step in (1, 2, 3, 4)]
    assert curves["train/data_wait"] == [(step, 0.25) for step in (1, 2, 3, 4)]
    assert curves["eval/accuracy"] == [(4, 0.75)] and curves["eval/images"] == [(4, 360)]


def test_without_tensorboardx_a_run_says_so_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="^tensorboard=true needs tensorboardX, .* -m pip install tensorboardX$"):
        train(TrainConfig(tensorboard=True, output_dir=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("batch_size, global_batch, odd", [(16, None, True), (64, 256, False), (128, None, False)])
def test_a_rate_far_from_what_it_was_made_for_is_questioned_at_the_start(
    tmp_path, caplog, batch_size, global_batch, odd
):
    config = TinyConfig(batch_size=batch_size, global_batch=global_batch, lr=0.01, lr_base_batch=256)
    job = assembled(config)
    Reporter(config, RunFolder(tmp_path / "run", "neonext_pico", 1), 1, Progress(1, 1, 1)).start(job)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == odd * [
        "lr=0.01 is for updates of lr_base_batch=256 images; these of 16 get 0.000625: global_batch=256 would keep it, "
        "and lr_base_batch=null take it as it is"
    ]
