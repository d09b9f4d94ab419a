"""Tar and Parquet files as other programs write them, and what is in them."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

LABELS = [2, 0, 1, 2, 0, 0]  # of the samples of a tar file


def encoded(seed, form="PNG"):
    out = io.BytesIO()
    coarse = Image.fromarray(np.random.RandomState(seed).randint(0, 256, (6, 8, 3)).astype(np.uint8))
    coarse.resize((48, 36), Image.BICUBIC).save(out, form)
    return out.getvalue()


def add(tar, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


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
