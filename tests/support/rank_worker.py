"""A rank of a data-parallel job, for test_ranks.py: trains a few steps and rank 0 saves the weights.

Usage: python rank_worker.py BATCH_SIZE STEPS OUTPUT.npz
BatchNorm uses its running statistics: those of a batch differ between one large and two small batches.
"""

import sys

import numpy as np
from mindspore import Tensor, nn

from neonext_ms import create_model
from neonext_ms.errors import UserError
from neonext_ms.evaluation.evaluate import evaluate
from neonext_ms.evaluation.loader import eval_loader
from neonext_ms.evaluation.step import EvalStep
from neonext_ms.runtime.ranks import join_ranks
from neonext_ms.training.apply_gradients import Clip, Update
from neonext_ms.training.consistency import check_same, digest_of_arrays, digest_of_text
from neonext_ms.training.drop_path import drop_path_masks, drop_path_rates
from neonext_ms.training.inputs import open_sources, preprocess, train_loader
from neonext_ms.training.optim.ema import EMA
from neonext_ms.training.optim.sgd import SGD
from neonext_ms.training.run.saver import copy_of
from neonext_ms.training.statistics import OfRanks
from neonext_ms.training.step import Gradient, StepMetrics, TrainStep
from tests.support.tiny import TinyConfig


def check_same_weights(network, ranks):
    check_same(
        ranks, {"weights": digest_of_arrays({p.name: p.asnumpy() for p in network.get_parameters()})}, "in the test"
    )


def check_that_a_difference_is_named(ranks):
    try:
        check_same(ranks, {"data": digest_of_text(str(ranks.rank))}, "in the test")
    except UserError as error:
        assert "data of rank 1 of 2 differs" in str(error)
    else:
        assert ranks.world == 1


def main(batch_size: int, steps: int, output: str):
    config = TinyConfig(batch_size=batch_size, random_crop="pad", hflip=0.5, mixup=0.8, drop_path_rate=0.3, seed=3)
    ranks = join_ranks("CPU")
    train_source, val_source = open_sources(config)
    network = create_model(config.model, 10, seed=1, **config.model_overrides)
    rates = drop_path_rates(config.drop_path_rate, 2)
    check_same_weights(network, ranks)
    for _, cell in network.cells_and_names():
        if isinstance(cell, nn.BatchNorm2d):
            cell.use_batch_statistics = False
    # Not AdamW: its first steps divide a gradient by its own size, which makes whole steps of rounding errors.
    optimizer = SGD(network.trainable_params(), 0.05)
    ema = EMA(network, 0.9)
    # Two ranks cut their halves in two again.
    update = Update(network, optimizer, ranks, Clip(), ema)
    step = TrainStep(Gradient(network, optimizer), update, micro_batches=ranks.world)
    losses = []
    for i, batch in zip(range(steps), train_loader(config, train_source, ranks).epoch(0)):
        masks = drop_path_masks(rates, batch.positions, config.seed, i)
        losses.append(StepMetrics.read(step(batch.images, batch.targets, masks, 0.05)).loss)
    # What is not finite on the last rank alone is skipped by all of them.
    images = batch.images * (np.nan if ranks.rank == ranks.world - 1 else 1)
    assert not StepMetrics.read(step(images, batch.targets, masks, 0.05)).finite
    # 360 images over two ranks in batches of 7: the last batches are padded.
    loader = eval_loader(val_source, preprocess(config, train_source), 7, 0, ranks)
    metrics = evaluate(EvalStep(network), loader, ranks)
    # Each rank has statistics of its own, and averages of them; the mean of 0 and 1 is a half.
    name, state, mean = "ema.stem.norm.moving_mean", copy_of(ema.state()), network.stem.norm.moving_mean
    state[name][:] = ranks.rank
    ema.load_state(state)
    mean.set_data(Tensor(np.full(8, ranks.rank, np.float32)))
    with OfRanks(network, ema, ranks).averaged():
        check_same_weights(network, ranks)
        averaged = [mean.asnumpy().copy(), ema.state()[name].copy()]
    check_that_a_difference_is_named(ranks)
    assert (mean.asnumpy() == ranks.rank).all() and (ema.state()[name] == ranks.rank).all()
    mean.set_data(Tensor(np.zeros(8, np.float32)))
    state[name][:] = 0
    ema.load_state(state)
    if ranks.first:
        weights = {p.name: p.asnumpy() for p in network.get_parameters()} | ema.state()
        np.savez(
            output,
            losses=losses,
            world=ranks.world,
            metrics=[metrics["accuracy"], metrics["images"]],
            averaged=averaged,
            **weights,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
