"""Ranks that differ are named, on every rank."""

import hashlib
import threading

import numpy as np
import pytest

from neonext_ms.errors import UserError
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training import consistency
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.consistency import check_same, digest_of_code, digest_of_config


def in_threads(world: int, work):
    """Run `work(ranks)` for each rank in a thread; the sum over them takes the place of the network."""
    barrier, vectors = threading.Barrier(world), [None] * world

    class ThreadRanks(Ranks):
        def total(self, values):
            vectors[self.rank] = np.asarray(values, np.float32)
            barrier.wait(20)
            return np.sum(vectors, 0, dtype=np.float32)

    results = [None] * world

    def run(rank):
        try:
            results[rank] = work(ThreadRanks(rank, world, "CPU"))
        except UserError as error:
            results[rank] = str(error)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@pytest.mark.parametrize(
    "texts, named",
    [
        ("aaaa", None),
        ("aaba", "rank 2 of 4 differs"),
        ("baaa", "rank 0 of 4 differs"),
        ("ab", "rank 1 of 2 differs"),
        ("aabc", "ranks 2, 3 of 4 differ from"),
    ],
)
def test_who_differs_in_what(texts, named):
    def work(ranks):
        check_same(ranks, {"code": digest("same"), "data": digest(texts[ranks.rank])}, "after epoch 3")

    results = in_threads(len(texts), work)
    assert len(set(results)) == 1, "all ranks say the same"
    if named is None:
        assert results[0] is None
    else:
        assert named in results[0] and "after epoch 3: the data of " in results[0]


@pytest.mark.parametrize("what", ["code", "configuration", "data", "position in the run", "weights"])
def test_ranks_compare_all_that_they_must_have_alike(what, monkeypatch):
    if what == "code":  # which is the same for the threads of a process
        monkeypatch.setattr(consistency, "digest_of_code", lambda: digest(threading.current_thread().name))

    def work(ranks):
        odd = ranks.rank == 1
        config = TrainConfig(lr=0.5 if odd and what == "configuration" else 0.25)
        data = {"training": {"samples": 9 + (odd and what == "data")}}
        arrays = {"w": np.float32([odd and what == "weights"])}
        consistency.check_run(ranks, config, data, int(odd and what == "position in the run"), arrays, "now")

    found = in_threads(2, work)[0]
    assert (
        found
        == f"now: the {what} of rank 1 of 2 differs from the others'; all need the same code, configuration and data"
    )


def test_a_single_bit_is_enough():
    def work(ranks):
        check_same(ranks, {"weights": bytes([*bytes(31), ranks.rank])}, "at the start")

    assert "rank 1 of 2" in in_threads(2, work)[0]


def test_configurations_may_differ_in_paths_only():
    one = digest_of_config(TrainConfig(data_dir="a", output_dir="b", num_workers=3))
    assert one == digest_of_config(TrainConfig()) != digest_of_config(TrainConfig(lr=2e-3))


def test_the_code_has_one_digest():
    assert digest_of_code() == digest_of_code() and len(digest_of_code()) == 32
