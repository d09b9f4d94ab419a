"""Parquet files of other programs: read as they are, and named where they cannot be."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from neonext_ms.data import open_source
from neonext_ms.errors import UserError
from tests.support.shards import encoded, write_parquet


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
        ({"image": [{"bytes": b"x", "path": b"y"}], "label": [0]}, "row 0 has a path that is no text"),
    ],
)
def test_parquet_files_of_something_else_are_named(tmp_path, columns, message):
    parquet.write_table(pa.table(columns), tmp_path / "train.parquet")
    with pytest.raises(UserError) as caught:
        open_source("parquet", tmp_path, "train")
    assert message in str(caught.value) and "\n" not in str(caught.value)
