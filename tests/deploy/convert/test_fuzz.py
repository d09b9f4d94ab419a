"""Weights from others: read, or refused in one line, in bounded time and memory."""

import io
import struct
import zipfile

import numpy as np
import pytest

from neonext_ms.checkpoint.format import encode
from neonext_ms.checkpoint.safetensors_file import read_metadata
from neonext_ms.deploy.convert.source import read_weights
from neonext_ms.deploy.convert.state_dict import state_dict_bytes
from neonext_ms.deploy.convert.torch_file import read_torch, torch_bytes
from neonext_ms.errors import UserError
from tests.support.cards import CARD
from tests.support.fuzz import mutants, read_or_refused, wrong_values
from tests.support.paths import FIXTURES

STATE = {"head.ln.weight": np.ones(3, np.float32), "head.fc.weight": np.zeros((2, 3), np.float32)}
STATE |= {"stem.norm.num_batches_tracked": np.array(3), "stem.conv.weight": np.ones((3, 48, 1, 1), np.float16)}


def read(path):
    return read_weights(path, ema=False)


def entries(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(content: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return out.getvalue()


# Of pickletools, about texts that changes have put a backslash into; Python shows it to no user.
of_texts = pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")


@of_texts
@pytest.mark.parametrize("suffix", [".pt", ".npz", ".safetensors", ".ckpt", ".bin"])
@pytest.mark.parametrize("plain", [True, False])
def test_files_of_weights(tmp_path, suffix, plain):
    """Damaged as a whole, and, of zips, inside their entries, whose checksums then fit."""
    path = tmp_path / f"x{suffix}"
    if suffix == ".ckpt":
        data = b"".join(piece for name, value in STATE.items() for piece in encode(name, value))
    else:
        data = state_dict_bytes(STATE, ".pt" if suffix == ".bin" else suffix, {"model": CARD["model"]})
    for seed, changed in enumerate(mutants(data, seed=len(suffix), count=200)):
        if not plain:
            if suffix not in (".pt", ".npz"):
                return
            content = entries(data)
            name = sorted(content)[seed % len(content)]
            changed = zipped({**content, name: next(mutants(content[name], seed, 1))})
        path.write_bytes(changed)
        read_or_refused(read, path)


@of_texts
def test_pickles_of_real_files(tmp_path):
    for name in ("torch_checkpoint.pt", "neonext_tiny_official.pt"):
        content = entries((FIXTURES / name).read_bytes())
        (pickled,) = (name for name in content if name.endswith("data.pkl"))
        for changed in mutants(content[pickled], seed=5, count=150):
            (tmp_path / "x.pt").write_bytes(zipped({**content, pickled: changed}))
            read_or_refused(read_torch, tmp_path / "x.pt")


def test_metadata_of_safetensors(tmp_path):
    values = {**CARD, "origin": {"file": "a", "sha256": "b", "counters": {"stem.norm.num_batches_tracked": 3}}}
    for wrong in wrong_values(values, seed=6, count=200):
        if isinstance(wrong, dict):
            data = state_dict_bytes(STATE, ".safetensors", wrong)
            (tmp_path / "x.safetensors").write_bytes(data)
            read_or_refused(read, tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b"{" * 100_000,
        b'{"__metadata__": 5}',
        b'{"a": {"dtype": "F32", "shape": [0, 9223372036854775807], "data_offsets": [0, 0]}}',
        b'{"a": {"dtype": "F32", "shape": [' + b",".join([b"1"] * 40) + b'], "data_offsets": [0, 4]}}',
    ],
)
def test_headers_of_safetensors(tmp_path, header):
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4 * (b"40" in header or header.endswith(b"4]}}"))))
    assert not read_or_refused(read, path) and read_metadata(path) == {}


def pickled(*words: bytes) -> bytes:
    return b"\x80\x02" + b"".join(words) + b"."


def tensor(shape: bytes, strides: bytes, count: int = 4) -> bytes:
    """The words for a tensor whose shape and strides are those words, over a storage of float32."""
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK" + bytes([count]) + b"tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0" + shape + strides + b"\x89}tR"


def numbers(values) -> bytes:
    return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", value) for value in values) + b"t"


def doubled(depth: int) -> bytes:
    """A list that holds a list twice, which holds a list twice, ..."""
    return b"]q\0" + b"".join(
        b"]q" + bytes([i]) + b"(h" + bytes([i - 1]) + b"h" + bytes([i - 1]) + b"e" for i in range(1, depth)
    )


def nested_key(depth: int) -> bytes:
    """A dict whose key is a tuple of twice a tuple of ...: its hash takes 2 ** depth steps."""
    return b"})q\0" + b"".join(b"h%c\x86q%c" % (i - 1, i) for i in range(1, depth))


X = b"X\x01\0\0\0x"
ATTACKS = {
    "more dimensions than NumPy has": b"}" + X + tensor(numbers([1] * 40), numbers([1] * 40)) + b"s",
    "a thousand dimensions": b"}" + X + tensor(numbers([1] * 1000), numbers([0] * 1000)) + b"s",
    "sizes that overflow": b"}" + X + tensor(numbers([0, 2**62, 2**62]), numbers([2**62, 1, 1])) + b"s",
    "strides that overflow": b"}" + X + tensor(numbers([2, 2]), numbers([2**62, 2**62])) + b"s",
    "a shape that is no tuple": b"}" + X + tensor(b"K\4", b"K\1") + b"s",
    "lists shared 60 deep": b"}" + X + b"(" + doubled(60) + b"ts",
    "a key that is shared 28 deep": b"}" + X + nested_key(28) + b"K\1ss",
    "a memo of 4 thousand million": b"}r\xff\xff\xff\xff" + X + b"K\1s",
    "a million lists": b"]" * 1_000_000,
    "a million marks": b"(" * 1_000_000,
    "a number of 250 bytes as a size": b"}" + X + tensor(b"(\x8a\xfa" + b"\x7f" * 250 + b"t", b"(K\1t") + b"s",
    "a very long number": b"}" + X + b"\x8b\xff\xff\xff\x7f" + b"s",
    "a list in itself": b"}" + X + b"]q\0h\0as",
    "lists 200,000 deep": b"}" + X + b"]" * 100_000 + b"a" * 99_999 + b"s",
}


# What is said of some, which shows that they are refused for what they are.
REASONS = {
    "more dimensions than NumPy has": "does not fit",
    "sizes that overflow": "does not fit",
    "a key that is shared 28 deep": "other keys than texts and numbers",
    "a million lists": "more than 300000 words",
    "lists shared 60 deep": "holds a dict of x",
    "a list in itself": "holds a dict of x",
    "a memo of 4 thousand million": "holds a dict of x",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_on_the_pickle(tmp_path, name):
    path = tmp_path / "x.pt"
    path.write_bytes(zipped({"x/data.pkl": pickled(ATTACKS[name]), "x/data/0": bytes(16)}))
    assert not read_or_refused(read, path)
    with pytest.raises(UserError, match=REASONS.get(name, "x.pt")):
        read(path)


def test_the_words_of_the_attacks_are_right(tmp_path):
    """The same with sizes that there are, and with tensors that share storages."""
    path = tmp_path / "x.pt"
    path.write_bytes(
        zipped(
            {"x/data.pkl": pickled(b"}" + X + tensor(numbers([2, 2]), numbers([2, 1])) + b"s"), "x/data/0": bytes(16)}
        )
    )
    assert read_torch(path)["x"].shape == (2, 2)


@pytest.mark.parametrize("by_name", [True, False])
def test_storages_that_many_tensors_share(tmp_path, by_name):
    """A thousand times 64 KB out of one, each as a tensor of its own, or one under a thousand names."""
    words = [b"}"]
    one = tensor(numbers([1 << 14]), numbers([1])).replace(b"cpuK\4", b"cpuM\0\x40")
    for i in range(1000):
        name = f"{i:04}".encode()
        words += [b"X\x04\0\0\0" + name, (one + b"q\0" if i == 0 else b"h\0") if by_name else one, b"s"]
    path = tmp_path / "x.pt"
    path.write_bytes(zipped({"x/data.pkl": pickled(*words), "x/data/0": bytes(1 << 16)}))
    with pytest.raises(UserError, match="more than 4 times its own"):
        read(path)
    assert not read_or_refused(read, path)


def test_entries_that_lie_over_one_another(tmp_path):
    """A thousand entries of one megabyte each, which are the same bytes of the file."""
    data = torch_bytes({"x": np.zeros(1 << 18, np.float32)})
    end = data.rindex(b"PK\x05\x06")
    (start,) = struct.unpack_from("<I", data, end + 16)
    directory = data[start:end]
    at = directory.index(b"archive/data/0") - 46
    entry = directory[at : at + 46 + len("archive/data/0")]
    many = directory + b"".join(entry.replace(b"data/0", b"d%05d" % i) for i in range(1000))
    tail = data[end : end + 8] + struct.pack("<HHIIH", 1005, 1005, len(many), start, 0)
    (tmp_path / "x.pt").write_bytes(data[:start] + many + tail)
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        assert sum(entry.file_size for entry in archive.infolist()) > 1000 << 20
    assert not read_or_refused(read, tmp_path / "x.pt")


@pytest.mark.parametrize("suffix", [".pt", ".npz"])
def test_entries_that_say_they_are_large(tmp_path, suffix):
    """The compressed size, for which a reader makes room before it reads, in the directory alone."""
    data = bytearray(state_dict_bytes(STATE, suffix))
    for at in (data.rindex(b"PK\x01\x02") + 20, data.index(b"PK\x01\x02") + 20):
        changed = bytearray(data)
        changed[at : at + 4] = struct.pack("<I", 1 << 29)
        (tmp_path / f"x{suffix}").write_bytes(changed)
        assert not read_or_refused(read, tmp_path / f"x{suffix}")


def test_zeros_that_are_compressed(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros(1 << 27, np.uint8))
    with pytest.raises(UserError, match="more than 4 times its own"):
        read(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "shape", ["(1099511627776,)", "(0, 9223372036854775807)", f"({'1,' * 40})", "(-1,)", "(1.0,)", "'a'"]
)
def test_headers_of_npy(tmp_path, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(200) + b"\n"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(8)
    (tmp_path / "x.npz").write_bytes(zipped({"x.npy": npy}))
    assert not read_or_refused(read, tmp_path / "x.npz")
