"""One of two ranks, for test_sharing.py: the same updates with and without a shared optimizer, and an evaluation.

Usage: python sharing_worker.py FOLDER, with the images of `mixtures`; rank 0 writes FOLDER/found.npz.
"""

import sys
from pathlib import Path

import numpy as np

from neonext_ms.evaluation.evaluate import evaluate
from neonext_ms.runtime.collectives import Gather, PartOfSum, SumOverRanks
from neonext_ms.runtime.ranks import join_ranks
from neonext_ms.training.run.saver import copy_of
from neonext_ms.training.step import StepMetrics
from tests.support.tiny import TinyConfig, assembled

RUN = {"dataset": "multilabel", "loss": "bce", "device": "CPU", "num_workers": 0, "eval_batch_size": 7}
RUN |= {"batch_size": 8, "warmup_epochs": 0.0, "ema_decay": 0.9, "lr": 0.01}
# Rates by layer make many groups; that of the head's three biases is no multiple of two.
ADAMW = {"layer_decay": 0.5, "drop_path_rate": 0.2}
SGD = {"optimizer": "sgd", "clip_grad": 0.01, "global_batch": 32, "amp_level": "O2", "loss_scale": 8.0}


def values(job) -> dict[str, np.ndarray]:
    return copy_of({p.name: p.asnumpy() for p in job.network.get_parameters()} | job.train_step.state())


def trained(ranks, folder: Path, options: dict, begin: dict | None = None):
    """(what four updates have left, what they said, values of state that this rank holds)."""
    job = assembled(TinyConfig(**RUN, **options, data_dir=str(folder)), ranks)
    if begin:
        job.train_step.load_state(begin)
        assert all(np.array_equal(value, begin[name]) for name, value in job.train_step.state().items())
    metrics = []
    for i, batch in zip(range(4), job.loader.epoch(0)):
        inputs = job.inputs(batch.images, batch.targets, batch.positions, i)
        metrics.append(StepMetrics.read(job.train_step(*inputs)))
    before = values(job)
    broken = batch.images * (np.nan if ranks.rank == 1 else 1)  # of which all ranks must know
    assert not StepMetrics.read(job.train_step(broken, *inputs[1:])).finite
    after = values(job)
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    assert set(changed) <= {"loss_scale", "good_updates"}, changed
    with job.statistics.averaged():
        job.check_ranks(5, "in the test")
    optimizer = job.train_step.update.optimizer
    held = sum(p.size for vectors in optimizer._states.values() for p in vectors)
    return after, metrics, held


def both(ranks, folder: Path, options: dict) -> dict:
    """Without and with sharing; the second begins with the state of an equal job that does not share."""
    options = {"parallel_optimizer": False, **options}
    begin = copy_of(assembled(TinyConfig(**RUN, **options, data_dir=str(folder)), ranks).train_step.state())
    whole = trained(ranks, folder, options)
    shared = trained(ranks, folder, {**options, "parallel_optimizer": True}, begin)
    found = {"held": [whole[2], shared[2]], "norms": [[m.gradient_norm for m in run[1]] for run in (whole, shared)]}
    assert [m.loss for m in whole[1]][0] == [m.loss for m in shared[1]][0]
    return found | {f"whole.{n}": v for n, v in whole[0].items()} | {f"shared.{n}": v for n, v in shared[0].items()}


def in_pieces(ranks) -> dict:
    """What collectives give that send vectors in pieces of five values at most; those of rank 1 are 100 greater."""
    from mindspore import Tensor

    vector = np.arange(12, dtype=np.float32) + 100 * ranks.rank
    cells = {"sum": SumOverRanks(ranks), "part": PartOfSum(ranks), "gather": Gather(ranks)}
    cells["sum"].most = cells["part"].sum.most = cells["gather"].most = 5
    return {name: cell(Tensor(vector)).asnumpy() for name, cell in cells.items()}


def main(folder: Path):
    ranks = join_ranks("CPU")
    job = assembled(TinyConfig(**RUN, data_dir=str(folder)), ranks)
    metrics = evaluate(job.eval_step, job.val_loader, ranks, threshold=0.5)
    pieces = in_pieces(ranks)
    assert np.array_equal(pieces.pop("part"), np.arange(100, 124, 2)[6 * ranks.rank :][:6])
    adamw, sgd = both(ranks, folder, ADAMW), both(ranks, folder, SGD)
    if ranks.first:
        names = {"adamw": adamw, "sgd": sgd, "evaluated": metrics, "pieces": pieces}
        np.savez(
            folder / "found.npz", **{f"{a}.{b}": value for a, found in names.items() for b, value in found.items()}
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
