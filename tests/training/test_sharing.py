"""Two ranks that share the optimizer's state make the updates of two that do not; what they evaluate is one rank's."""

import logging
import subprocess

import numpy as np
import pytest
from mindspore import Parameter, Tensor

from neonext_ms.evaluation.evaluate import evaluate
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.optim.flat import Flat
from tests.runtime.test_ranks import ENVIRONMENT, WORKER, logs, msrun
from tests.support import sharing_worker
from tests.support.mixtures import mixtures
from tests.support.tiny import TinyConfig, assembled


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What two real ranks have found, by part."""
    folder = mixtures(tmp_path_factory.mktemp("sharing"), train=128, val=19)
    command = [*msrun(folder, 2), str(WORKER.with_name("sharing_worker.py")), str(folder)]
    done = subprocess.run(command, env=ENVIRONMENT, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + logs(folder)[-9000:]
    with np.load(folder / "found.npz") as arrays:
        parts = {}
        for name, value in arrays.items():
            parts.setdefault(name.partition(".")[0], {})[name.partition(".")[2]] = value
    return folder, parts


def whole_and_shared(part: dict):
    names = [name.partition(".")[2] for name in part if name.startswith("whole.")]
    assert {f"shared.{name}" for name in names} == {name for name in part if name.startswith("shared.")}
    return {name: (part[f"whole.{name}"], part[f"shared.{name}"]) for name in names}


@pytest.mark.slow
def test_without_clipping_every_bit_is_the_same(found):
    pairs = whole_and_shared(found[1]["adamw"])
    assert {"moment1.head.fc.bias", "moment2.stem.norm.gamma", "ema.head.fc.bias"} <= set(pairs)
    assert [name for name, (one, other) in pairs.items() if one.tobytes() != other.tobytes()] == []
    assert all(one.any() for name, (one, _) in pairs.items() if name.startswith("moment"))


@pytest.mark.slow
def test_with_clipping_the_norms_rounding_is_all_that_differs(found):
    """Gradients are clipped, accumulated, and scaled for float16."""
    part = found[1]["sgd"]
    whole, shared = part["norms"]
    assert (whole > 0.01).all(), "clipped"
    np.testing.assert_allclose(shared, whole, rtol=2e-6)
    for name, (one, other) in whole_and_shared(part).items():
        np.testing.assert_allclose(other, one, rtol=0, atol=2e-6 * max(1.0, np.abs(one).max()), err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer, vectors", [("adamw", 2), ("sgd", 1)])
def test_each_rank_holds_half(found, optimizer, vectors):
    """Of the state; groups of an odd size are one longer. (Without sharing, weights are held by the network alone.)"""
    whole, shared = found[1][optimizer]["held"]
    assert whole / 2 <= shared <= whole / 2 + 10 * vectors


@pytest.mark.slow
def test_long_vectors_go_in_pieces(found):
    pieces = found[1]["pieces"]
    assert pieces["sum"].tolist() == list(range(100, 124, 2))
    assert pieces["gather"].tolist() == [*range(12), *range(100, 112)]


@pytest.mark.slow
def test_the_mean_average_precision_of_two_ranks_is_that_of_one(found):
    """19 images in batches of 7: two ranks see 14 with padding, one 21."""
    folder, parts = found
    job = assembled(TinyConfig(**sharing_worker.RUN, data_dir=str(folder)), Ranks(0, 1, "CPU"))
    expected = evaluate(job.eval_step, job.val_loader, job.ranks, threshold=0.5)
    assert set(expected) == {"loss", "accuracy", "mAP", "f1", "images"} == set(parts["evaluated"])
    assert expected["images"] == 19 and 0.3 < expected["mAP"] < 1
    assert {name: float(value) for name, value in parts["evaluated"].items()} == pytest.approx(expected, rel=1e-6)


def test_parts_of_a_vector():
    """Seven values among three ranks: three each, of which the last two are none."""
    parameters = [Parameter(Tensor(np.arange(1, 5, dtype=np.float32).reshape(2, 2)), name="a")]
    parameters.append(Parameter(Tensor(np.arange(5, 8, dtype=np.float32)), name="b"))
    found = [Flat(parameters, Ranks(rank, 3, "CPU")) for rank in range(3)]
    assert [flat.read().asnumpy().tolist() for flat in found] == [[1, 2, 3], [4, 5, 6], [7, 0, 0]]
    assert (found[0].vector("v").shape, found[0].part("p").shape) == ((9,), (3,))
    part = found[1].part("p")
    found[1].load("m", part, {"m.a": np.full((2, 2), 8, np.float32), "m.b": np.full(3, 9, np.float32)})
    assert part.asnumpy().tolist() == [8, 9, 9]


def test_one_rank_is_told_that_it_shares_nothing(caplog):
    with caplog.at_level(logging.INFO, "neonext_ms"):
        job = assembled(TinyConfig(parallel_optimizer=True), Ranks(0, 1, "CPU"))
    assert not job.train_step.shared
    assert [r.message for r in caplog.records if "parallel" in r.message] == [
        "parallel_optimizer has no effect on one rank, which holds the optimizer's whole state"
    ]
