"""Tar and Parquet files, our own and those of other programs: the samples, in their order, of the folder."""

import builtins
import io
import json
import os
import pickle
import random
import tarfile
import time
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from neonext_ms.checkpoint.store import load_checkpoint
from neonext_ms.data import Loader, Mixing, Preprocess, RandomErasing, TrainTransform, open_source
from neonext_ms.data.packing import pack
from neonext_ms.errors import UserError
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.trainer import train

KINDS = ("mindrecord", "tar", "parquet")
TRANSFORM = TrainTransform(
    Preprocess(8, (0.5,) * 3, (0.25,) * 3), "resized", auto_augment="rand-m9-mstd0.5-inc1", erasing=RandomErasing(0.5)
)


def encoded(seed, form="PNG"):
    out = io.BytesIO()
    coarse = Image.fromarray(np.random.RandomState(seed).randint(0, 256, (6, 8, 3)).astype(np.uint8))
    coarse.resize((48, 36), Image.BICUBIC).save(out, form)
    return out.getvalue()


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
        config = TrainConfig(
            dataset=kind, data_dir=str(data_dir), output_dir=str(tmp_path / kind), batch_size=6, epochs=1, hflip=0.5,
            warmup_epochs=0, max_bad_share=0.5, num_workers=1, device="CPU", random_crop="resized", mixup=0.2,
        )  # fmt: skip
        train(config)
        (path,) = (tmp_path / kind / "checkpoints").glob("neonext_pico-1_5.ckpt")
        weights[kind] = load_checkpoint(path, with_state=False).weights
    for kind in KINDS:
        assert weights[kind].keys() == weights["folder"].keys() and len(weights[kind]) > 50
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


def add(tar, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


LABELS = [2, 0, 1, 2, 0, 0]


def write_tars(root, names=("train-000.tar", "train-001.tar", "imagenet-val-0.tar"), form=tarfile.PAX_FORMAT):
    """As other programs write them: folders, long names, other files, labels before and after the image."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w", format=form) as tar:
            folder = tarfile.TarInfo("some")
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
            add(tar, "some/key0.cls", b"2\n")
            add(tar, "some/key0.jpg", encoded(0, "JPEG"))
            add(tar, "some/key1.PNG", encoded(1))
            add(tar, "some/key1.json", json.dumps({"label": 0, "caption": "x"}).encode())
            add(tar, f"{'long' * 60}/k.txt", b"a caption")
            add(tar, f"{'long' * 60}/k.png", encoded(2))
            add(tar, f"{'long' * 60}/k.cls", b"1")
            add(tar, "näme.png", encoded(3))
            add(tar, "näme.cls", b"2")
            add(tar, "only a caption.txt", b"no image")
            add(tar, "some/key1.webp", encoded(4, "WEBP"))  # the key of another folder's sample
            add(tar, "some/key1.cls", b"0")
            add(tar, "other/key1.bmp", encoded(5, "BMP"))
            add(tar, "other/key1.cls", b"0")
    return root


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize(
    "names",
    [
        ("train-000.tar", "train-001.tar", "imagenet-val-0.tar"),
        ("train/0.tar", "train/1.tar", "validation/0.tar"),
        ("data/train-a.tar", "data/train-b.tar", "data/valid-a.tar"),
    ],
)
def test_tar_files_of_other_programs(tmp_path, names, form):
    source = open_source("tar", write_tars(tmp_path, names, form), "train")
    assert source.labels.tolist() == 2 * LABELS and source.class_names == ["0", "1", "2"]
    for index in range(12):
        form = ("JPEG", "PNG", "PNG", "PNG", "WEBP", "BMP")[index % 6]
        np.testing.assert_array_equal(
            source.image(index), np.asarray(Image.open(io.BytesIO(encoded(index % 6, form))).convert("RGB"))
        )
    assert source.describe(9) == f"{tmp_path / names[1]}:näme"
    assert len(open_source("tar", tmp_path, "val")) == 6
    (tmp_path / "classes.txt").write_bytes("\ufeffcat\r\ndog\r\nbird\r\n".encode())
    assert open_source("tar", tmp_path, "val").class_names == ["cat", "dog", "bird"]
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(UserError, match="classes.txt' names 2 classes, but there is the label 2"):
        open_source("tar", tmp_path, "train")


def test_both_splits_have_the_classes_of_the_one_with_more(tmp_path):
    for split, labels in (("train", (0, 4)), ("val", (0, 1))):
        with tarfile.open(tmp_path / f"{split}.tar", "w") as tar:
            for number, label in enumerate(labels):
                add(tar, f"{number}.png", encoded(number))
                add(tar, f"{number}.cls", str(label).encode())
    for split in ("train", "val"):
        assert open_source("tar", tmp_path, split).class_names == list("01234")


def spoil(change):
    def spoiled(path):
        path.write_bytes(change(path.read_bytes()))

    return spoiled


@pytest.mark.parametrize(
    "change, message",
    [
        (spoil(lambda data: b""), "no tar header at byte 0"),
        (spoil(lambda data: b"x" * 5000), "no tar header at byte 0"),
        (spoil(lambda data: data[:3000]), "cut short at byte 3000"),
        (spoil(lambda data: data.replace(b"2\n", b"xx", 1)), "invalid literal"),
        (spoil(lambda data: data.replace(b"2\n", b"-1", 1)), "has the label -1"),
        (
            spoil(lambda data: data.replace(b"2\n", b"9" * 2 + b"", 1).replace(b"key0.cls", b"key0.txt")),
            "no tar header",
        ),
        (lambda path: path.unlink(), "holds no .tar files of train"),
        (lambda path: os.rename(path, f"{path}.gz"), "holds no .tar files of train"),
    ],
)
def test_damaged_tar_files_are_named(tmp_path, change, message):
    path = write_tars(tmp_path, ("train.tar",)) / "train.tar"
    change(path)
    with pytest.raises(UserError) as caught:
        open_source("tar", tmp_path, "train")
    assert message in str(caught.value) and str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_sample_without_a_label_is_named(tmp_path):
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        add(tar, "a/1.png", encoded(1))
    with pytest.raises(UserError, match="the sample 'a/1' has no label in .cls or .json"):
        open_source("tar", tmp_path, "train")


def write_parquet(root, name, label_type=None, names=None, **options):
    images = [{"bytes": encoded(i), "path": f"{i}.png" if i % 2 else None} for i in range(10)]
    labels = pa.array([i % 3 for i in range(10)], label_type or pa.int64())
    table = pa.table(
        {"image": pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())])), "label": labels}
    )
    if names:
        about = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, root / name, **{"row_group_size": 4, **options})


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("label_type", [pa.int64(), pa.int8(), pa.uint16()])
def test_parquet_files_of_hugging_face(tmp_path, compression, label_type):
    for name in ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/validation-0.parquet"):
        write_parquet(tmp_path, name, label_type, ["cat", "dog", "bird"], compression=compression)
    source = open_source("parquet", tmp_path, "train")
    assert source.class_names == ["cat", "dog", "bird"] and source.labels.tolist() == 2 * [i % 3 for i in range(10)]
    for index in np.random.RandomState(0).permutation(20).tolist():
        np.testing.assert_array_equal(
            source.image(index), np.asarray(Image.open(io.BytesIO(encoded(index % 10))).convert("RGB"))
        )
    assert source.describe(12) == f"{tmp_path}/data/train-00001-of-00002.parquet:2", "no path: the row"
    assert source.describe(13).endswith(".parquet:3.png") and len(open_source("parquet", tmp_path, "val")) == 10


def test_a_plain_column_of_bytes(tmp_path):
    table = pa.table({"img": pa.array([encoded(0), None, encoded(2)], pa.large_binary()), "fine_label": [1, 0, 1]})
    parquet.write_table(table, tmp_path / "train.parquet")
    source = open_source("parquet", tmp_path, "train")
    assert source.labels.tolist() == [1, 0, 1] and source.image(2).shape == (36, 48, 3)
    with pytest.raises(UserError, match="train.parquet:1' as an image"):
        source.image(1)


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"picture": [b"x"], "label": [0]}, "it has the columns picture, label, and none of image"),
        ({"image": [b"x"], "text": ["a"]}, "it has the columns image, text, and none of label"),
        ({"image": ["x.png"], "label": [0]}, "its column image holds string, and not the bytes of image files"),
        ({"image": [b"x"], "label": [-1]}, "row 0 has the label -1"),
        ({"image": [b"x"], "label": ["cat"]}, "row 0 has the label 'cat'"),
        ({"image": [b"x"], "label": [None]}, "row 0 has the label None"),
    ],
)
def test_parquet_files_of_something_else_are_named(tmp_path, columns, message):
    parquet.write_table(pa.table(columns), tmp_path / "train.parquet")
    with pytest.raises(UserError) as caught:
        open_source("parquet", tmp_path, "train")
    assert message in str(caught.value) and "\n" not in str(caught.value)


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
        begin = time.perf_counter()
        try:
            source = open_source(kind, tmp_path, "train")
            for index in range(len(source)):
                source.data(index)
        except UserError as error:
            assert "\n" not in str(error)
        assert time.perf_counter() - begin < 1
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
