"""Names of millions of files cost their bytes, once for all workers of a machine."""

import os
import pickle

import numpy as np
import pytest
from PIL import Image

from neonext_ms.data import Loader, Preprocess, TrainTransform
from neonext_ms.data.names import Names
from neonext_ms.data.sources import FolderSource

TRANSFORM = TrainTransform(Preprocess(8, (0.5,) * 3, (0.25,) * 3), hflip=0)


@pytest.mark.parametrize("prefix", ["", "/data", os.fsdecode(b"/caf\xe9")])
def test_names_are_what_they_were(prefix):
    given = [prefix + name for name in ("/a", "", "/two\nlines", os.fsdecode(b"/\xb9\xb7"), "/Käfer", "/a")]
    names = pickle.loads(pickle.dumps(Names(given, prefix)))
    assert list(names) == given and len(names) == 6 and names[-2] == given[4] and names[1:5:2] == given[1:5:2]
    assert names.index(given[2]) == 2 and names.tail(3) == b"/\xb9\xb7"
    for index in (6, -7):
        with pytest.raises(IndexError):
            names[index]
    assert list(Names([])) == []


class Same(FolderSource):
    """A folder whose images are all the same, so that none need be there; the label shows in the first pixel."""

    def region(self, index, choose, side):
        assert self.paths[index].endswith(f"_{index:08}.JPEG")
        return Image.new("RGB", (side, side), (int(self.labels[index]), 0, 0)), choose(side, side)


def many(count):
    names = Names((f"/data/train/class{i % 1000:05}/image_{i:08}.JPEG" for i in range(count)), "/data/train")
    return Same("many/train", list(map(str, range(200))), np.arange(count) % 200, "/data/train", names)


def private(process):
    """Megabytes that a process has for itself."""
    with open(f"/proc/{process.pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_")) / 1024


def workers_memory(count):
    loader = Loader(many(count), TRANSFORM, 8, training=True, num_workers=2)
    batches = loader.epoch(0)
    for batch in (next(batches) for _ in range(8)):
        red = np.rint((batch.images[:, 0, 0, 0] * 0.25 + 0.5) * 255)
        np.testing.assert_array_equal(red, batch.labels)
    found = max(map(private, loader._workers.processes))
    batches.close()
    return found


def test_a_worker_has_no_copy_of_the_list():
    """Of 500,000 samples: names, labels and the order of an epoch are 28 MB, and would be in every worker."""
    assert workers_memory(500_000) < workers_memory(1000) + 12
