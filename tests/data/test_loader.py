"""The sample stream: the same whatever the workers and ranks, complete, and free of leftovers."""

import gc
import hashlib
import threading
import time

import numpy as np
import pytest

from neonext_ms.data import Loader, Mixing, Preprocess, TrainTransform
from neonext_ms.data.sources import ArraySource
from neonext_ms.errors import UserError

K = 7
PREPROCESS = Preprocess(8, (0.5,) * 3, (0.25,) * 3)
TRAIN = TrainTransform(PREPROCESS, "resized")
EVALUATION_LIKE = TrainTransform(PREPROCESS, hflip=0)
FIELDS = ("images", "labels", "targets", "indices", "positions", "valid")


def make_source(n, seed=0):
    rng = np.random.RandomState(seed)
    images = rng.randint(0, 256, (n, 12, 10, 3)).astype(np.uint8)
    return ArraySource("made/train", list("abcdefg"), rng.randint(0, K, n), images, (0.5,) * 3, (0.25,) * 3)


SOURCE = make_source(50)


def training(batch_size=6, source=SOURCE, **options):
    return Loader(source, TRAIN, batch_size, training=True, **{"mixing": Mixing(0.4, 0.1), **options})


def merge(batches):
    """Batches one after the other, as a dict of arrays; the ranks' parts of one step make its global batch."""
    batches = list(batches)
    return {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in FIELDS}


def stream_hash(loaders, epochs=(0, 1)):
    """SHA-256 of everything that the ranks together deliver, step by step."""
    digest = hashlib.sha256()
    for epoch in epochs:
        for parts in zip(*(loader.epoch(epoch) for loader in loaders), strict=True):
            for name, values in merge(parts).items():
                digest.update(f"{name} {values.dtype} {values.shape}".encode())
                digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("num_workers", [1, 2, 4])
def test_stream_does_not_depend_on_workers(num_workers):
    assert stream_hash([training(num_workers=num_workers)]) == stream_hash([training()])


@pytest.mark.parametrize("world", [2, 3])
def test_stream_does_not_depend_on_ranks(world):
    ranks = [training(4, rank=rank, world=world, num_workers=rank) for rank in range(world)]
    assert stream_hash(ranks) == stream_hash([training(4 * world)])


def test_an_epoch_does_not_depend_on_the_ones_before():
    loader = training()
    once = stream_hash([loader], epochs=[3])
    stream_hash([loader], epochs=[0, 2])
    assert stream_hash([loader], epochs=[3]) == once


def test_seed_and_epoch_change_everything():
    assert stream_hash([training(seed=5)]) == stream_hash([training(seed=5)])
    assert stream_hash([training(seed=5)]) != stream_hash([training(seed=6)])
    first, second, reseeded = (
        merge(loader.epoch(epoch)) for loader, epoch in ((training(), 0), (training(), 1), (training(seed=1), 0))
    )
    for other in (second, reseeded):
        assert (first["indices"] != other["indices"]).any()


@pytest.mark.parametrize("epoch, seed", [(1, 0), (0, 1)])
def test_seed_and_epoch_change_the_augmentation_of_a_sample(epoch, seed):
    def images_by_index(epoch, seed):
        loader = Loader(SOURCE, TRAIN, 50, training=True, seed=seed)
        (batch,) = loader.epoch(epoch)
        return batch.images[np.argsort(batch.indices)]

    same = (images_by_index(0, 0) == images_by_index(epoch, seed)).all((1, 2, 3))
    assert not same.any()


def test_weights_of_mixing_change_with_seed_epoch_and_step():
    """With a class of its own for each sample the targets show the weights, whatever the order."""
    source = ArraySource("a", [str(i) for i in range(40)], np.arange(40), SOURCE.images[:40], (0.5,) * 3, (0.25,) * 3)
    weights = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        loader = Loader(source, EVALUATION_LIKE, 20, training=True, seed=seed, mixing=Mixing(1.0))
        weights += [batch.targets.max(1) for batch in loader.epoch(epoch)]
    assert len(weights) == 6
    assert len({values.tobytes() for values in weights}) == 6


def test_training_content():
    """Without randomness in the transform each image is the preprocessed sample that `indices` names."""
    loader = Loader(SOURCE, EVALUATION_LIKE, 8, training=True, num_workers=2)
    batches = list(loader.epoch(0))
    assert len(batches) == len(loader) == 6  # 48 of 50; the incomplete global batch is dropped
    seen = np.concatenate([batch.indices for batch in batches])
    assert len(set(seen)) == 48
    assert (np.diff(seen) < 0).any()
    for batch in batches:
        for name, dtype in zip(FIELDS, (np.float32, np.int32, np.float32, np.int64, np.int64, bool)):
            assert getattr(batch, name).dtype == dtype
        np.testing.assert_array_equal(batch.positions, np.arange(8))
        assert batch.valid.all()
        np.testing.assert_array_equal(batch.labels, SOURCE.labels[batch.indices])
        np.testing.assert_array_equal(batch.targets, np.eye(K)[batch.labels])
        for image, index in zip(batch.images, batch.indices):
            np.testing.assert_array_equal(image, PREPROCESS(SOURCE.image(index)))


def test_permutations_are_even():
    """Every sample comes about equally often to the first half of an epoch."""
    source = make_source(20)
    counts = np.zeros(20)
    for seed in range(400):
        counts[training(10, source, seed=seed)._order(0)[:10]] += 1
    assert (np.abs(counts - 200) < 40).all()  # 4 standard deviations


def test_dropped_samples_are_different_ones_each_epoch():
    dropped = {int(i) for epoch in range(10) for i in set(range(50)) - set(merge(training(8).epoch(epoch))["indices"])}
    assert len(dropped) > 10


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("n, batch_size", [(50, 8), (50, 10), (7, 4), (3, 4), (1, 1), (23, 5)])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_counts_every_sample_once(world, n, batch_size, num_workers):
    source = make_source(n)
    ranks = [
        Loader(source, PREPROCESS, batch_size, training=False, rank=rank, world=world, num_workers=num_workers)
        for rank in range(world)
    ]
    assert {len(loader) for loader in ranks} == {-(-n // (batch_size * world))}
    epochs = [list(loader.epoch()) for loader in ranks]
    assert [len(batches) for batches in epochs] == [len(ranks[0])] * world
    counted = []
    for parts in zip(*epochs):
        assert all(batch.images.shape == (batch_size, 3, 8, 8) for batch in parts)
        assert all(len(getattr(batch, name)) == batch_size for batch in parts for name in FIELDS)
        whole = merge(parts)
        np.testing.assert_array_equal(whole["positions"], np.arange(batch_size * world))
        valid = whole["valid"]
        counted += whole["indices"][valid].tolist()
        np.testing.assert_array_equal(whole["labels"][valid], source.labels[whole["indices"][valid]])
        np.testing.assert_array_equal(whole["targets"][valid], np.eye(K)[whole["labels"][valid]])
        for image, index in zip(whole["images"][valid], whole["indices"][valid]):
            np.testing.assert_array_equal(image, PREPROCESS(source.image(index)))
        assert (whole["indices"][~valid] == -1).all() and (whole["labels"][~valid] == -1).all()
        assert not whole["targets"][~valid].any() and not whole["images"][~valid].any()
    assert counted == list(range(n))


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_size", [2, 6, 10])
def test_every_rank_trains_the_same_number_of_steps(world, batch_size):
    ranks = [training(batch_size, rank=rank, world=world) for rank in range(world)]
    counts = {sum(1 for _ in loader.epoch(0)) for loader in ranks} | {len(loader) for loader in ranks}
    assert counts == {50 // (batch_size * world)}


class SlowSource(ArraySource):
    """Counts what is read; fails on one sample if told to."""

    def __init__(self, bad=None):
        super().__init__("slow/train", SOURCE.class_names, SOURCE.labels, SOURCE.images, SOURCE.mean, SOURCE.std)
        self.bad = bad
        self.read = []

    def image(self, index):
        self.read.append(index)
        time.sleep(0.002)
        if index == self.bad:
            raise UserError("cannot read 'x.jpg' as an image: broken")
        return super().image(index)


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_exceptions_reach_the_caller_at_their_batch(num_workers):
    loader = Loader(SlowSource(bad=33), PREPROCESS, 10, training=False, num_workers=num_workers)
    batches = loader.epoch()
    for _ in range(3):
        next(batches)
    with pytest.raises(UserError, match="^cannot read 'x.jpg' as an image: broken$"):
        next(batches)
    assert not loader_threads()


@pytest.mark.parametrize("how", ["break", "close", "raise", "finish"])
def test_no_thread_is_left(how):
    source = SlowSource()
    loader = Loader(source, PREPROCESS, 2, training=False, num_workers=3)
    if how == "break":
        for _ in loader.epoch():
            assert len(loader_threads()) > 1
            break
        gc.collect()
    elif how == "close":
        batches = loader.epoch()
        next(batches)
        batches.close()
    elif how == "raise":
        with pytest.raises(KeyError):
            consume_and_fail(loader)
    else:
        assert len(list(loader.epoch())) == 25
    assert not loader_threads()
    if how != "finish":
        assert len(source.read) < 30  # what was queued was cancelled


def consume_and_fail(loader):
    for _ in loader.epoch():
        raise KeyError


def test_reading_ahead_is_bounded():
    source = SlowSource()
    batches = Loader(source, PREPROCESS, 1, training=False, num_workers=2).epoch()
    next(batches)
    time.sleep(0.2)
    assert len(source.read) <= 1 + 2 * 2
    batches.close()


def test_workers_work_at_the_same_time():
    """Each of two workers waits until the other reads a sample too; one alone would break the barrier."""
    meeting = threading.Barrier(2)
    source = make_source(20)
    read = source.image
    source.image = lambda index: (meeting.wait(timeout=20), read(index))[1]
    assert len(list(Loader(source, PREPROCESS, 1, training=False, num_workers=2).epoch())) == 20


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
        ({"world": 0}, "world must be 1 or more, got 0"),
        ({"num_workers": -2}, "num_workers must be 0 or more, got -2"),
        ({"rank": 2, "world": 2}, "rank must be in 0..1 for world 2, got 2"),
        ({"batch_size": 52}, "a global batch of 52 samples .* larger than made/train with 50: .* at most 50"),
        ({"batch_size": 18, "world": 3}, r"a global batch of 54 samples \(batch_size 18 x 3 ranks\) .* at most 16"),
        ({"batch_size": 7}, "batch_size must be even, got 7"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(UserError, match=f"^[^\n]*{message}[^\n]*$"):
        training(**options)


def test_mixing_belongs_to_training():
    with pytest.raises(UserError, match="training only"):
        Loader(SOURCE, PREPROCESS, 4, training=False, mixing=Mixing(0.1))
