"""Checkpoint files are MindSpore's, byte for byte."""

import mindspore as ms
import numpy as np
import pytest

from neonext_ms.checkpoint.format import TYPES, decode, encode

SHAPES = [(), (1,), (3, 4), (300, 7), (2, 1, 5, 3)]


@pytest.fixture(scope="module")
def parameters():
    rng = np.random.default_rng(0)
    return {"more than one piece": rng.standard_normal((700, 401))} | {
        f"layer.{dtype}.{i}": np.asarray(100 * rng.standard_normal(shape)).astype(dtype)
        for dtype in TYPES
        for i, shape in enumerate(SHAPES)
    }


def test_files_are_those_that_mindspore_writes(parameters, tmp_path):
    ms.save_checkpoint([{"name": n, "data": ms.Tensor(v)} for n, v in parameters.items()], str(tmp_path / "a.ckpt"))
    ours = b"".join(piece for name, value in parameters.items() for piece in encode(name, value))
    assert ours == (tmp_path / "a.ckpt").read_bytes()
    for found in (decode(ours), {n: p.asnumpy() for n, p in ms.load_checkpoint(str(tmp_path / "a.ckpt")).items()}):
        assert list(found) == list(parameters)
        for name, value in parameters.items():
            assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
            np.testing.assert_array_equal(found[name], value)


def test_views_are_written_as_they_read():
    value = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)[::2]
    np.testing.assert_array_equal(decode(b"".join(encode("a", value)))["a"], value)


@pytest.mark.parametrize("end", range(1, 40))
def test_a_cut_file_is_an_error(end):
    data = b"".join(encode("name", np.arange(5, dtype=np.float32)))
    with pytest.raises(ValueError):
        decode(data[: len(data) - end])


@pytest.mark.parametrize(
    "data", [b"\xff" * 30, b"\n\x02\n\x00", b"PK\x03\x04" + bytes(30), 2 * b"".join(encode("a", np.ones(3)))]
)
def test_other_bytes_are_an_error(data):
    with pytest.raises(ValueError):
        decode(data)
