"""The sample stream: the same whatever the workers and ranks, complete, and without repetitions."""

import hashlib
from itertools import chain, islice

import numpy as np
import pytest

from neonext_ms.data import Loader, Mixing, TrainTransform
from neonext_ms.data.sources import ArraySource
from neonext_ms.errors import UserError
from tests.support.samples import FIELDS, PREPROCESS, SOURCE, K, make_source, merge, training

CROP = TrainTransform(PREPROCESS, "resized")
EVALUATION_LIKE = TrainTransform(PREPROCESS, hflip=0)


def stream_hash(loaders, epochs=(0, 1), restart=None):
    """SHA-256 of everything that the ranks together deliver, step by step.

    restart: loaders that take over for those in the middle of each epoch, which these leave there.
    """
    digest = hashlib.sha256()
    half = len(loaders[0]) // 2
    for epoch in epochs:
        if restart is None:
            steps = zip(*(loader.epoch(epoch) for loader in loaders), strict=True)
        else:
            begun = islice(zip(*(loader.epoch(epoch) for loader in loaders), strict=True), half)
            steps = chain(begun, zip(*(loader.epoch(epoch, half) for loader in restart), strict=True))
        for parts in steps:
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


@pytest.mark.parametrize("rank", [0, 1])
def test_every_rank_names_the_samples_of_all(rank):
    ranks = [training(4, rank=number, world=2) for number in range(2)]
    for step, parts in enumerate(zip(*(loader.epoch(1) for loader in ranks), strict=True)):
        shown = np.concatenate([part.indices for part in parts])
        assert ranks[rank].samples(1, step) == [f"{SOURCE.name}[{index}]" for index in shown]


def ranks_of(world, num_workers):
    return [training(12 // world, rank=rank, world=world, num_workers=num_workers) for rank in range(world)]


@pytest.mark.parametrize("before, after", [((1, 2), (1, 4)), ((1, 4), (2, 1)), ((2, 1), (1, 0)), ((2, 0), (2, 2))])
def test_stream_does_not_depend_on_a_restart_in_mid_epoch(before, after):
    """(ranks, workers) of the job that stopped, and of the one that goes on."""
    assert stream_hash(ranks_of(*before), restart=ranks_of(*after)) == stream_hash([training(12)])


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
        loader = Loader(SOURCE, CROP, 50, training=True, seed=seed)
        (batch,) = loader.epoch(epoch)
        return batch.images[np.argsort(batch.indices)]

    same = (images_by_index(0, 0) == images_by_index(epoch, seed)).all((1, 2, 3))
    assert not same.any()


def test_every_sample_is_augmented_in_its_own_way():
    source = make_source(50)
    source.images[:] = source.images[0]
    (batch,) = Loader(source, CROP, 50, training=True).epoch(0)
    assert len({image.tobytes() for image in batch.images}) > 40  # of so small an image some boxes come twice


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
        counts[training(10, source, seed=seed)._plan.batch_order(0, 0)[0]] += 1
    assert (np.abs(counts - 200) < 40).all()  # 4 standard deviations


def test_dropped_samples_are_different_ones_each_epoch():
    dropped = {int(i) for epoch in range(10) for i in set(range(50)) - set(merge(training(8).epoch(epoch))["indices"])}
    assert len(dropped) > 10


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("n, batch_size", [(50, 8), (50, 10), (7, 4), (3, 4), (1, 1), (23, 5)])
def test_evaluation_counts_every_sample_once(world, n, batch_size):
    source = make_source(n)
    workers = 2 if (world, n) == (2, 23) else 0
    ranks = [
        Loader(source, PREPROCESS, batch_size, training=False, rank=rank, world=world, num_workers=workers)
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


@pytest.mark.parametrize("num_workers, first_step", [(0, 1), (0, 7), (0, 8), (2, 5)])
def test_start_in_mid_epoch(num_workers, first_step):
    whole = list(training().epoch(1))
    rest = list(training(num_workers=num_workers).epoch(1, first_step))
    assert len(rest) == len(whole) - first_step
    if rest:
        for name, values in merge(rest).items():
            np.testing.assert_array_equal(values, merge(whole[first_step:])[name])


@pytest.mark.parametrize("batch_size, repeats", [(6, 2), (8, 3), (10, 4)])
def test_repeated_augmentation(batch_size, repeats):
    loader = training(batch_size, aug_repeats=repeats, mixing=None)
    plain = merge(training(batch_size, mixing=None).epoch(0))
    pixels = dict(zip(plain["indices"].tolist(), plain["images"]))
    assert len(loader) == 50 // batch_size
    all_indices = merge(loader.epoch(0))["indices"]
    counts = np.bincount(all_indices, minlength=50)
    assert counts.max() == repeats and (counts > 0).sum() == -(-len(all_indices) // repeats)
    np.testing.assert_array_equal(np.unique(all_indices), np.sort(plain["indices"][: -(-len(all_indices) // repeats)]))
    for batch in loader.epoch(0):
        assert (batch.indices[0::2] != batch.indices[1::2]).all(), "partners in mixing are different samples"
        copies = {}
        for index, image in zip(batch.indices.tolist(), batch.images):
            copies.setdefault(index, []).append(image.tobytes())
        assert all(len(set(images)) == len(images) for images in copies.values()), "each augmented in its own way"
        for index, images in copies.items():
            if len(images) == repeats and index in pixels:
                assert pixels[index].tobytes() in images, "one of them as without repetitions"


def test_repeated_augmentation_does_not_depend_on_ranks_and_workers():
    ranks = [training(4, rank=rank, world=3, num_workers=rank, aug_repeats=3) for rank in range(3)]
    assert stream_hash(ranks) == stream_hash([training(12, aug_repeats=3)])


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
        ({"aug_repeats": 0}, "aug_repeats must be 1 or more, got 0"),
        ({"max_bad_share": 1.0}, "max_bad_share must be at least 0 and below 1, got 1.0"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(UserError, match=f"^[^\n]*{message}[^\n]*$"):
        training(**options)


@pytest.mark.parametrize("options", [{"mixing": Mixing(0.1)}, {"aug_repeats": 2}])
def test_mixing_and_repetition_belong_to_training(options):
    with pytest.raises(UserError, match="training only"):
        Loader(SOURCE, PREPROCESS, 4, training=False, **options)


def test_odd_batches_are_refused_only_when_samples_are_mixed_in_pairs():
    training(7, mixing=Mixing(label_smoothing=0.1))
    for mixing in (Mixing(mixup=0.1), Mixing(cutmix=1.0)):
        with pytest.raises(UserError, match="batch_size must be even, got 7"):
            training(7, mixing=mixing)
