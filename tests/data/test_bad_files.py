"""Files that cannot be read: the run goes on, they are named once and counted, and too many of them stop it."""

import logging
import zlib
from functools import partial

import numpy as np
import pytest
from PIL import Image

from neonext_ms.data import Loader, Mixing, Preprocess, RandomErasing, TrainTransform, open_source
from neonext_ms.data.seeding import SAMPLE, generator
from neonext_ms.errors import UserError

GOOD = 40
SIDE = 8
PREPROCESS = Preprocess(SIDE, (0.5,) * 3, (0.25,) * 3)
TRAIN = TrainTransform(PREPROCESS, "resized", auto_augment="rand-m9-mstd0.5-inc1", erasing=RandomErasing(0.25))


def photo(seed):
    coarse = np.random.RandomState(seed).randint(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((48, 36), Image.BICUBIC)


def bomb():
    """A PNG whose header says 20,000 x 20,000 pixels."""
    header = b"IHDR" + (20000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """40 good files in two classes, and 16 bad ones of every kind."""
    folder = tmp_path_factory.mktemp("images")
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
        for i in range(GOOD):
            photo(i).save(folder / split / ("cat", "dog")[i % 2] / f"good{i:02}.jpg", quality=95)
        cat, dog = folder / split / "cat", folder / split / "dog"
        whole = (cat / "good00.jpg").read_bytes()
        for tenth in range(1, 10):
            (dog / f"bad_cut{tenth}.jpg").write_bytes(whole[: len(whole) * tenth // 10])
        (cat / "bad_empty.jpg").write_bytes(b"")
        (cat / "bad_text.jpg").write_text("this is no picture")
        (cat / "bad_bomb.png").write_bytes(bomb())
        (cat / "bad_noise.webp").write_bytes(np.random.RandomState(0).bytes(3000))
        (cat / "bad_link.jpg").symlink_to(folder / "nowhere.jpg")
        (cat / "bad_unreadable.jpg").symlink_to("/proc/self/mem")  # opens, but the first read fails, also for root
        (cat / "bad_vanished.jpg").write_bytes(whole)
    return folder


@pytest.fixture(scope="module")
def sources(root):
    """Train and val split; one file vanishes from each after they were listed."""
    sources = {split: open_source("folder", root, split) for split in ("train", "val")}
    for split in sources:
        (root / split / "cat" / "bad_vanished.jpg").unlink()
    return sources


def bad_indices(source):
    return {index for index, path in enumerate(source.paths) if "/bad_" in path}


def loader(source, batch_size=6, **options):
    return Loader(
        source, TRAIN, batch_size, training=True, **{"mixing": Mixing(0.8, 1.0), "max_bad_share": 0.5, **options}
    )


def stream(loaders, epoch=0):
    """What the ranks deliver together: a list of (indices, labels, images, targets) of global batches."""
    return [
        tuple(np.concatenate([getattr(p, name) for p in parts]) for name in ("indices", "labels", "images", "targets"))
        for parts in zip(*(each.epoch(epoch) for each in loaders), strict=True)
    ]


def test_the_run_goes_on_and_every_bad_file_is_named_once(sources, caplog):
    source = sources["train"]
    bad = bad_indices(source)
    assert len(bad) == 16 and len(source) == GOOD + 16
    each = loader(source, 5, mixing=None)
    batches = [batch for epoch in range(2) for batch in stream([each], epoch)]
    assert len(batches) == 2 * len(each) == 22
    for indices, labels, images, targets in batches:
        assert not bad & set(indices.tolist())
        np.testing.assert_array_equal(labels, source.labels[indices])
        np.testing.assert_array_equal(targets.argmax(1), labels)
        assert images.std((1, 2, 3)).min() > 0
    assert each.bad == bad
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 16
    for index in bad:
        (warning,) = [text for text in warnings if f"'{source.paths[index]}'" in text]
        assert "\n" not in warning and "another sample takes its place" in warning
    assert warnings[0].endswith("(1 of 56 are bad so far)") and warnings[-1].endswith("(16 of 56 are bad so far)")


def test_only_the_bad_samples_are_replaced(sources, root):
    """Where the file is good, the stream is that of a run without bad files."""
    source = sources["train"]
    each = loader(source, 5, mixing=None)
    for step, (indices, _, images, _) in enumerate(stream([each], 0)):
        planned, _ = each._plan.batch_order(0, step)
        good = ~np.isin(planned, list(bad_indices(source)))
        np.testing.assert_array_equal(indices[good], planned[good])
        assert (indices != planned)[~good].all()
        for index, image in zip(indices[good].tolist(), images[good]):
            rng = generator(0, SAMPLE, 0, index)
            np.testing.assert_array_equal(
                image, TRAIN.augment(*source.region(index, partial(TRAIN.box, rng=rng), SIDE), rng)
            )


def test_replacements_are_different_ones(sources):
    each = loader(sources["train"], 5, mixing=None)
    planned = [each._plan.batch_order(epoch, step)[0] for epoch in range(3) for step in range(len(each))]
    delivered = [batch[0] for epoch in range(3) for batch in stream([each], epoch)]
    replaced = np.concatenate(planned) != np.concatenate(delivered)
    assert replaced.sum() == 3 * 16 and len(set(np.concatenate(delivered)[replaced])) > 16


def test_the_stream_does_not_depend_on_workers_and_ranks(sources):
    source = sources["train"]
    expected = stream([loader(source, 12)])
    for others in (
        [loader(source, 12, num_workers=2)],
        [loader(source, 6, rank=rank, world=2, num_workers=rank) for rank in range(2)],
    ):
        found = stream(others)
        assert len(found) == len(expected) == 4
        for batch, other in zip(expected, found):
            for values, other_values in zip(batch, other):
                np.testing.assert_array_equal(values, other_values)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_too_many_bad_files_stop_the_run(sources, num_workers):
    each = loader(sources["train"], 5, max_bad_share=0.1, num_workers=num_workers, mixing=None)
    with pytest.raises(UserError) as caught:
        stream([each])
    message = str(caught.value)
    assert message.startswith("6 of the 56 samples of folder/train cannot be read, more than max_bad_share=0.1 allows")
    assert "/bad_" in message and "\n" not in message
    assert each._workers is None


def test_nothing_but_bad_files(tmp_path):
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
        for i in range(4):
            (tmp_path / split / "a" / f"{i}.jpg").write_bytes(b"")
    each = loader(open_source("folder", tmp_path, "train"), 2, max_bad_share=0.99)
    with pytest.raises(UserError, match="^folder/train: 101 samples in a row cannot be read, the last: cannot read '"):
        stream([each])


@pytest.mark.parametrize("world, num_workers", [(1, 0), (1, 2), (3, 0)])
def test_evaluation_leaves_bad_files_out(sources, caplog, world, num_workers):
    source = sources["val"]
    ranks = [
        Loader(
            source, PREPROCESS, 8, training=False, rank=rank, world=world, num_workers=num_workers, max_bad_share=0.5
        )
        for rank in range(world)
    ]
    counted = []
    steps = list(zip(*(each.epoch() for each in ranks), strict=True))
    assert len(steps) == -(-56 // (8 * world))
    for batch in (batch for step in steps for batch in step):
        counted += batch.indices[batch.valid].tolist()
        assert not batch.images[~batch.valid].any() and not batch.targets[~batch.valid].any()
        assert (batch.labels[~batch.valid] == -1).all()
        for index, image in zip(batch.indices[batch.valid], batch.images[batch.valid]):
            np.testing.assert_array_equal(image, PREPROCESS(source.image(index)))
    assert sorted(counted) == sorted(set(range(56)) - bad_indices(source))
    assert sum("it is left out" in record.getMessage() for record in caplog.records) == 16


@pytest.mark.parametrize("count, share, stops", [(5, 0.1, False), (6, 0.1, True), (5, 0.09, True), (29, 0.29, False)])
def test_the_share_that_is_allowed_is_allowed(tmp_path, count, share, stops):
    """Of 50 images, and of 100 with 29 bad ones, whose share times 100 is a little less than 29 in floating point."""
    total = 100 if count == 29 else 50
    for i in range(total):
        path = tmp_path / "val" / "a" / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(i).save(path) if i >= count else path.touch()
    each = Loader(open_source("folder", tmp_path, "val"), PREPROCESS, 10, training=False, max_bad_share=share)
    if stops:
        with pytest.raises(UserError, match=f"of the {total} samples of folder/val cannot be read, more than max_bad"):
            list(each.epoch())
    else:
        assert sum(batch.valid.sum() for batch in each.epoch()) == total - count and len(each.bad) == count


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_images_that_come_out_dark_are_said_once(tmp_path, caplog, recwarn, training, num_workers):
    for i in range(12):
        path = tmp_path / "train" / "a" / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.RandomState(i).randint(0, 4096, (9, 9)).astype(np.uint16)).save(path)
    transform = TRAIN if training else PREPROCESS
    source = open_source("folder", tmp_path, "train")
    each = Loader(source, transform, 4, training=training, num_workers=num_workers)
    list(each.epoch())
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "only the lower 12 bits are used" in warning and warning.endswith("(others like it are not named)")
    assert len(recwarn) == 0
    each.close()
