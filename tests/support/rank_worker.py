"""A rank of a data-parallel job, for test_ranks.py: makes the first updates of a run, and rank 0 saves the weights.

Usage: python rank_worker.py BATCH_SIZE STEPS OUTPUT.npz
BatchNorm uses its running statistics: those of a batch differ between one large and two small batches.
"""

import sys

import numpy as np
import pytest
from mindspore import Tensor

from neonext_ms.errors import UserError
from neonext_ms.evaluation.evaluate import evaluate
from neonext_ms.models.layers import BatchNorm
from neonext_ms.training.run.saver import copy_of
from neonext_ms.training.step import StepMetrics
from tests.support.tiny import TinyConfig, assembled

# SGD, not AdamW: its first steps divide a gradient by its own size, which makes whole steps of rounding errors.
RUN = {"global_batch": 32, "random_crop": "pad", "hflip": 0.5, "mixup": 0.8, "drop_path_rate": 0.3, "seed": 3}
RUN |= {"optimizer": "sgd", "lr": 0.05, "warmup_epochs": 0.0, "ema_decay": 0.9, "num_workers": 0}


def main(batch_size: int, steps: int, output: str):
    # 360 images over two ranks in batches of 7: the last batches are padded.
    job = assembled(TinyConfig(**RUN, batch_size=batch_size, eval_batch_size=7, device="CPU"))
    rank, ranks = job.ranks.rank, job.ranks
    for _, cell in job.network.cells_and_names():
        if isinstance(cell, BatchNorm):
            cell.use_batch_statistics = False
    losses = []
    for i, batch in zip(range(steps), job.loader.epoch(0)):
        inputs = job.inputs(batch.images, batch.targets, batch.positions, i)
        losses.append(StepMetrics.read(job.train_step(*inputs)).loss)
    # What is not finite on the last rank alone is skipped by all of them.
    images = batch.images * (np.nan if rank == ranks.world - 1 else 1)
    assert not StepMetrics.read(job.train_step(images, *inputs[1:])).finite
    metrics = evaluate(job.eval_step, job.val_loader, ranks)
    averaged = means_of_ranks(job)
    if ranks.world > 1:
        check_that_any_difference_is_found(job)
    if ranks.first:
        weights = {p.name: p.asnumpy() for p in job.network.get_parameters()} | job.train_step.state()
        metrics = [metrics["accuracy"], metrics["images"]]
        np.savez(output, losses=losses, world=ranks.world, metrics=metrics, averaged=averaged, **weights)


def means_of_ranks(job) -> list[np.ndarray]:
    """What all ranks hold of statistics, and of averages of them, of which each rank's own are its number."""
    ema, mean, name = job.train_step.update.ema, job.network.stem.norm.moving_mean, "ema.stem.norm.moving_mean"
    before = mean.asnumpy().copy(), copy_of(ema.state())
    ema.load_state({**before[1], name: np.full(8, job.ranks.rank, np.float32)})
    mean.set_data(Tensor(np.full(8, job.ranks.rank, np.float32)))
    with job.statistics.averaged():
        job.check_ranks(5, "in the test")
        averaged = [mean.asnumpy().copy(), ema.state()[name].copy()]
    assert (mean.asnumpy() == job.ranks.rank).all() and (ema.state()[name] == job.ranks.rank).all()
    mean.set_data(Tensor(before[0]))
    ema.load_state(before[1])
    return averaged


def check_that_any_difference_is_found(job):
    """In a weight, in the optimizer's state, in the averages, in the position."""
    state = copy_of(job.train_step.state())
    for name in ("velocity.head.fc.bias", "ema.head.fc.bias"):
        changed = state[name] + np.float32(job.ranks.rank)
        job.train_step.load_state({**state, name: changed})
        with pytest.raises(UserError, match="in the test: the weights of rank 1 of 2 differs"):
            job.check_ranks(5, "in the test")
    job.train_step.load_state(state)
    with pytest.raises(UserError, match="in the test: the position in the run of rank 1 of 2 differs"):
        job.check_ranks(5 + job.ranks.rank, "in the test")
    job.check_ranks(5, "in the test")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
