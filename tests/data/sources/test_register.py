"""A data set of the user's own, in ten lines."""

import os
import subprocess
import sys

import numpy as np
import pytest

from neonext_ms.data import known_datasets, open_source, register_source
from neonext_ms.data.sources import ArraySource
from neonext_ms.errors import UserError

OWN = """import numpy as np
from neonext_ms.data import register_source
from neonext_ms.data.sources import ArraySource


@register_source("stripes")
def open_stripes(data_dir, split):
    table = np.load(data_dir / f"{split}.npz")
    half = (0.5, 0.5, 0.5)
    return ArraySource(f"stripes/{split}", ["down", "across"], table["labels"], table["images"], half, half)
"""


@pytest.fixture
def place(tmp_path):
    """A folder with the module my_stripes and the files of the data set."""
    (tmp_path / "my_stripes.py").write_text(OWN)
    for split in ("train", "val"):
        images = np.zeros((16, 32, 32, 3), np.uint8)
        images[::2, ::2], images[1::2, :, ::2] = 255, 255
        np.savez(tmp_path / f"{split}.npz", images=images, labels=np.arange(16) % 2)
    return tmp_path


def test_a_registered_source_is_opened_by_its_name(tmp_path):
    @register_source("made here")
    def open_made(data_dir, split):
        return ArraySource(f"made/{split}", ["a"], [0], np.zeros((1, 2, 2, 3), np.uint8), (0.5,) * 3, (0.5,) * 3)

    assert open_source("made here", None, "val").name == "made/val" and "made here" in known_datasets()
    for taken in ("folder", "digits"):
        with pytest.raises(UserError, match=f"a dataset '{taken}' is known already"):
            register_source(taken)(open_made)


def neonext(place, *arguments, **variables):
    return subprocess.run(
        [sys.executable, "-m", "neonext_ms", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', os.getcwd())}:{place}", **variables},
    )


@pytest.mark.slow
def test_commands_find_it_by_the_environment(place):
    options = ["--dataset", "stripes", "--data_dir", place]
    train = ["train", *options, "--epochs", "1", "--batch_size", "8", "--output_dir", place / "run", "--device", "CPU"]
    done = neonext(place, *map(str, train), NEONEXT_SOURCES="my_stripes")
    assert done.returncode == 0 and "stripes: 16 training and 16 validation images, 2 classes" in done.stdout, (
        done.stderr
    )
    model = str(place / "run" / "checkpoints" / "neonext_pico_best.ckpt")
    done = neonext(place, "infer", "--model", model, "--count", "2", NEONEXT_SOURCES="my_stripes")
    assert done.returncode == 0 and done.stdout.startswith("stripes/val[0]: "), done.stderr


def test_an_unknown_data_set_or_module_is_one_line(place):
    done = neonext(place, "train", "--dataset", "stripes")
    assert done.returncode == 2 and "unknown dataset 'stripes'; known: digits, cifar10, " in done.stderr
    done = neonext(place, "train", "--dataset", "stripes", NEONEXT_SOURCES="my_stripez")
    assert done.returncode == 2 and "NEONEXT_SOURCES names the module 'my_stripez', which cannot" in done.stderr
