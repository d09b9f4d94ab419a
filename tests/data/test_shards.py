"""Shards: the samples, in their order, of the folder that was packed; and files of any content are read or refused."""

import builtins
import os
import pickle
import random
import time
import tracemalloc

import numpy as np
import pytest

from neonext_ms.checkpoint.store import load_checkpoint
from neonext_ms.data import Loader, Mixing, Preprocess, RandomErasing, TrainTransform, open_source
from neonext_ms.data.packing import pack
from neonext_ms.errors import UserError
from neonext_ms.training.trainer import train
from tests.support.shards import encoded, write_parquet, write_tars
from tests.support.tiny import TinyConfig

KINDS = ("mindrecord", "tar", "parquet")
TRANSFORM = TrainTransform(
    Preprocess(8, (0.5,) * 3, (0.25,) * 3), "resized", auto_augment="rand-m9-mstd0.5-inc1", erasing=RandomErasing(0.5)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """30 + 6 images in two classes, some with odd names, and four bad ones."""
    root = tmp_path_factory.mktemp("folder")
    for split, count in (("train", 30), ("val", 6)):
        for i in range(count):
            name = f"a.b.{i}.JPG" if i % 4 else f"{i}.png"
            path = root / split / ("cat", "dög")[i % 2] / f"d{i % 3}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(i, "JPEG" if i % 4 else "PNG"))
        (root / split / "cat" / "empty.jpg").touch()
    (root / "train" / "cat" / "link.jpg").symlink_to(root / "nowhere")
    (root / "train" / "cat" / "text.jpg").write_text("no picture")
    with open(os.fsencode(root / "train" / "cat") + b"/caf\xe9.png", "wb") as file:
        file.write(encoded(99))
    return root


@pytest.fixture(scope="module")
def packed(folder, tmp_path_factory):
    outputs = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    for kind, output in outputs.items():
        result = pack(folder, output, 9, kind)
        assert (result["written"], result["train"]["samples"], result["val"]["samples"]) == (5, 34, 7)
    return outputs


def stream(source, **options):
    loader = Loader(
        source,
        TRANSFORM,
        6,
        training=True,
        mixing=Mixing(0.4, 1.0),
        seed=3,
        aug_repeats=2,
        max_bad_share=0.5,
        **options,
    )
    batches = [batch for epoch in range(2) for batch in loader.epoch(epoch)]
    loader.close()
    return [np.concatenate([getattr(batch, name) for batch in batches]) for name in ("images", "targets", "indices")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_stream_of_samples_is_the_folders_bit_for_bit(folder, packed, kind, num_workers):
    for mine, expected in zip(
        stream(open_source(kind, packed[kind], "train"), num_workers=num_workers),
        stream(open_source("folder", folder, "train")),
    ):
        np.testing.assert_array_equal(mine, expected)


@pytest.mark.slow
def test_the_weights_after_five_steps_are_the_folders_bit_for_bit(folder, packed, tmp_path):
    weights = {}
    for kind, data_dir in (("folder", folder), *packed.items()):
        config = TinyConfig(
            dataset=kind, data_dir=str(data_dir), output_dir=str(tmp_path / kind), batch_size=6, epochs=1, hflip=0.5,
            warmup_epochs=0, max_bad_share=0.5, num_workers=1, device="CPU", random_crop="resized", mixup=0.2,
        )  # fmt: skip
        train(config)
        (path,) = (tmp_path / kind / "checkpoints").glob("neonext_pico-1_5.ckpt")
        weights[kind] = load_checkpoint(path, with_state=False).weights
    for kind in KINDS:
        assert weights[kind].keys() == weights["folder"].keys() and len(weights[kind]) > 30
        for name, value in weights["folder"].items():
            np.testing.assert_array_equal(weights[kind][name], value, err_msg=f"{kind} {name}")


@pytest.mark.parametrize("kind", KINDS)
def test_bad_samples_are_named_by_shard_and_key(packed, kind):
    source = open_source(kind, packed[kind], "train")
    bad = []
    for index in range(len(source)):
        try:
            pickle.loads(pickle.dumps(source)).image(index)
        except UserError as error:
            bad.append(index)
            key = {"tar": f"{index:09}"}.get(kind, "train/cat/")
            assert f"train-{index // 9:05}.{kind}:{key}" in str(error) and "\n" not in str(error)
    assert len(bad) == 3


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_packing_goes_on_and_what_has_changed_is_not_kept(folder, tmp_path, kind):
    pack(folder, tmp_path, 9, kind)
    (tmp_path / f"train-00001.{kind}").unlink()
    (tmp_path / f"val-00000.{kind}.json").unlink()
    result = pack(folder, tmp_path, 9, kind)
    assert (result["written"], result["kept"]) == (2, 3)
    with open(tmp_path / f"train-00000.{kind}", "r+b") as file:
        file.seek(700)
        file.write(bytes([file.read(1)[0] ^ 1]))
    with pytest.raises(UserError, match=f"train-00000.{kind}'.*(copy it|pack it) again"):
        open_source(kind, tmp_path, "train")
    other = "tar" if kind == "parquet" else "parquet"
    with pytest.raises(UserError, match=f"packed as {kind}: use dataset={kind}"):
        open_source(other, tmp_path, "train")
    with pytest.raises(UserError, match="holds other files, such as"):
        pack(folder, tmp_path, 9, other)


def test_without_pyarrow_one_line_tells_how_to_get_it(folder, tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **options):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    write_parquet(tmp_path, "train.parquet")
    monkeypatch.setattr(builtins, "__import__", missing)
    for ask in (
        lambda: open_source("parquet", tmp_path, "train"),
        lambda: pack(folder, tmp_path / "new", 9, "parquet"),
    ):
        with pytest.raises(UserError, match="'parquet' needs 'pyarrow<22', which is not installed: "):
            ask()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind, rounds", [("tar", 200), ("parquet", 100)])
def test_fuzzed_files_of_other_programs(tmp_path, kind, rounds):
    """Only a source or a UserError, in a second and little memory."""
    rng = random.Random(kind)
    if kind == "tar":
        write_tars(tmp_path, ("train.tar",))
    else:
        write_parquet(tmp_path, "train.parquet", names=["a", "b", "c"])
    path = tmp_path / f"train.{kind}"
    data = path.read_bytes()
    open_source(kind, tmp_path, "train").image(0)  # whatever is made once
    tracemalloc.start()
    for _ in range(rounds):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 2, 8))):
            at = rng.randrange(len(changed))
            if kind == "tar" and rng.random() < 0.5:
                at = at // 512 * 512 + rng.choice((0, 100, 124, 130, 148, 156, 257, 345))
            if rng.random() < 0.7:
                changed[at : at + 1] = rng.choice((b"\0", b"\xff", b"7", b"x", b"L", rng.randbytes(1)))
            else:
                del changed[at : at + rng.choice((1, 100, 512))]
            changed = changed or bytearray(b"?")
        path.write_bytes(changed)
        begin = time.process_time()
        try:
            source = open_source(kind, tmp_path, "train")
            for index in range(len(source)):
                source.data(index)
        except UserError as error:
            assert "\n" not in str(error)
        assert time.process_time() - begin < 1
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_shards_are_on_disk_before_they_have_their_names(folder, tmp_path, monkeypatch, kind):
    """A machine that stops must leave no shard that is half there under a card that calls it complete."""
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: calls.append(os.readlink(f"/proc/self/fd/{fd}")) or fsync(fd))
    monkeypatch.setattr(os, "replace", lambda a, b: calls.append(f"named {os.path.basename(b)}") or replace(a, b))
    pack(folder, tmp_path, 100, kind)
    for split in ("train", "val"):
        for name in (f"{split}-00000.{kind}", *([f"{split}-00000.{kind}.db"] if kind == "mindrecord" else [])):
            synced, named = calls.index(str(tmp_path / ".partial" / name)), calls.index(f"named {name}")
            assert synced < named < calls.index(str(tmp_path), named) < calls.index(f"named {split}-00000.{kind}.json")
    assert calls.index("named pack.json") > calls.index(f"named val-00000.{kind}.json")
