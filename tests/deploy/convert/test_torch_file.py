"""PyTorch's files without PyTorch. The fixtures were written by torch.save of PyTorch 2.13."""

import io
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from neonext_ms.deploy.convert.torch_file import read_torch, torch_bytes
from neonext_ms.errors import UserError
from tests.support.paths import FIXTURES

CHECKPOINT = FIXTURES / "torch_checkpoint.pt"


def entries(data):
    """{name: bytes} of a zip file, given as its path or content."""
    with zipfile.ZipFile(io.BytesIO(data) if isinstance(data, bytes) else data) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, content, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_tensors_of_every_kind():
    """Views with strides and offsets, half precisions, a Parameter, a scalar, an empty tensor, and other values."""
    content = read_torch(CHECKPOINT)
    assert content["epoch"] == 3 and content["arch"] == "x" and content["lrs"] == [0.1, None, True]
    weights = content["state_dict"]
    assert list(weights)[:2] == ["module.weight", "module.bias"]
    np.testing.assert_array_equal(weights["module.running_var"], np.ones(3, np.float32))
    assert weights["module.num_batches_tracked"].dtype == np.int64
    found = content["state_dict_ema"]
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.testing.assert_array_equal(found["transposed"], base.transpose(2, 0, 1))
    np.testing.assert_array_equal(found["part"], base[1, 1:])
    np.testing.assert_array_equal(found["float16"], (base / np.float32(3)).astype(np.float16))
    np.testing.assert_allclose(found["bfloat16"], base / 3, rtol=2**-8)
    assert found["bfloat16"].dtype == np.float32 and not (found["bfloat16"].view(np.uint32) & 0xFFFF).any()
    np.testing.assert_array_equal(found["parameter"], base[0])
    assert found["scalar"] == 7 and found["scalar"].shape == () and found["empty"].shape == (0, 3)
    assert content["optimizer"]["param_groups"][0]["lr"] == 0.1


def test_what_is_written_says_the_same_as_what_torch_writes(tmp_path):
    state = read_torch(FIXTURES / "neonext_tiny_official.pt")
    path = tmp_path / "again.pt"
    path.write_bytes(torch_bytes(state))
    again = read_torch(path)
    assert list(again) == list(state)
    for name, value in state.items():
        assert again[name].dtype == value.dtype and again[name].tobytes() == value.tobytes(), name
        assert again[name].shape == value.shape, name
    assert torch_bytes(state) == path.read_bytes(), "the same weights give the same file"


class Recorder(pickle.Unpickler):
    """Notes what a pickle names and calls, as torch.load would be asked to."""

    def find_class(self, module, name):
        return OrderedDict if name == "OrderedDict" else lambda *arguments: (module, name, arguments)

    def persistent_load(self, identity):
        kind, storage, _, place, count = identity
        return kind, storage(), place, count


def test_the_pickle_that_is_written_asks_for_what_torchs_own_does(tmp_path):
    theirs = FIXTURES / "neonext_tiny_official.pt"
    ours = torch_bytes(read_torch(theirs))
    asked = []
    for source in (theirs, ours):
        content = entries(source)
        (name,) = [name for name in content if name.endswith("/data.pkl")]
        asked.append(Recorder(io.BytesIO(content[name])).load())
        assert content[name.replace("data.pkl", "byteorder")] == b"little"
        assert content[name.replace("data.pkl", "version")] == b"3\n"
    assert list(asked[0].items()) == list(asked[1].items())
    assert len(asked[0]) > 100


class Attack:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("function", [exec, open, print, np.zeros])
def test_nothing_in_a_file_is_called(tmp_path, function):
    mark = tmp_path / "mark"
    arguments = {exec: (f"open({str(mark)!r}, 'w')",), open: (str(mark), "w"), print: ("x",), np.zeros: (3,)}
    attack = pickle.dumps({"weight": Attack(function, *arguments[function])}, protocol=2)
    path = write(tmp_path / "x.pt", {"x/data.pkl": attack})
    with pytest.raises(UserError, match="holds more than weights.*torch.save"):
        read_torch(path)
    assert not mark.exists()


def test_a_storage_that_is_cut_is_refused(tmp_path):
    content = entries(CHECKPOINT)
    largest = max((name for name in content if "/data/" in name), key=lambda name: len(content[name]))
    path = write(tmp_path / "cut.pt", {**content, largest: content[largest][:20]})
    with pytest.raises(UserError, match="cut.pt is a damaged PyTorch file .*does not fit the 5 elements"):
        read_torch(path)


@pytest.mark.parametrize(
    "change",
    [
        ((2, 3), (3, 3)),  # shape
        ((3, 1), (4, 1)),  # strides
        ((3, 1), (-3, 1)),
        ((2, 3), (-2, 3)),
        ((2, 3), (2**30, 2**30)),
    ],
)
def test_a_view_beyond_its_storage_is_refused(tmp_path, change):
    """It would show other memory of this process."""
    content = entries(torch_bytes({"x": np.arange(6, dtype=np.float32).reshape(2, 3)}))
    before, after = (
        b"(J" + a.to_bytes(4, "little", signed=True) + b"J" + b.to_bytes(4, "little") + b"t" for a, b in change
    )
    assert content["archive/data.pkl"].count(before) == 1
    content["archive/data.pkl"] = content["archive/data.pkl"].replace(before, after)
    path = write(tmp_path / "x.pt", content)
    with pytest.raises(UserError, match="does not fit the 6 elements"):
        read_torch(path)


def test_entries_that_torch_would_not_write_are_refused(tmp_path):
    content = entries(CHECKPOINT)
    big_endian = {**content, "torch_checkpoint/byteorder": b"big"}
    cases = [
        (write(tmp_path / "a.pt", content, zipfile.ZIP_DEFLATED), "compressed entries"),
        (write(tmp_path / "b.pt", big_endian), "big-endian"),
        (write(tmp_path / "c.pt", {"a.txt": b"x"}), "not one of PyTorch's"),
    ]
    for path, message in cases:
        with pytest.raises(UserError, match=message):
            read_torch(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "before 1.6"),
        (b"hello", "give a file written by torch.save"),
        (CHECKPOINT.read_bytes()[:2000], "damaged"),
        (b"", "damaged"),
    ],
)
def test_what_is_no_pytorch_file_is_one_line(tmp_path, data, message):
    path = tmp_path / "x.pt"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as error:
        read_torch(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
