"""A checkpoint holds what the parameters were when its save began, whatever becomes of them while it is written."""

from types import SimpleNamespace

import numpy as np
from mindspore import Parameter, Tensor, nn

from neonext_ms.checkpoint.store import load_checkpoint, numbered
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.run import writer
from neonext_ms.training.run.folder import RunFolder
from neonext_ms.training.run.progress import Progress
from neonext_ms.training.run.reporter import Reporter
from neonext_ms.training.run.saver import Saver
from tests.support.cards import CARD
from tests.support.tiny import TinyConfig

META = {**CARD, "epoch": 1}


def test_updates_go_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "SHARE", 1e-9)  # a pause of weeks within every checkpoint
    network = nn.Dense(1200, 1200)
    moments = Parameter(np.zeros((1200, 1200), np.float32), name="moments")
    folder = RunFolder(tmp_path / "run", "pico", keep=3)
    reporter = Reporter(TinyConfig(), folder, 1, Progress(3, 0, 1))
    step = SimpleNamespace(shared=False, state=lambda: {"moments": moments.asnumpy()})
    saver = Saver(network, step, folder, Ranks(0, 1, "CPU"), reporter)
    for value in (1, 2, 3):
        for parameter in (*network.get_parameters(), moments):
            parameter.set_data(Tensor(np.full(parameter.shape, value, np.float32)))
        saver.save({**META, "step": value})
        assert saver.writing
    assert saver.finish() is None and not saver.writing
    folder.close()
    found = [load_checkpoint(path) for path in numbered(folder.checkpoints)]
    assert [checkpoint.manifest["step"] for checkpoint in found] == [1, 2, 3]
    for checkpoint in found:
        values = (*checkpoint.weights.values(), *checkpoint.state.values())
        assert all((value == checkpoint.manifest["step"]).all() for value in values)
