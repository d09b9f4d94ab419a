"""Checkpoints and manifests from others: read, or refused in one line, in bounded time and memory."""

import hashlib
import json

import numpy as np
import pytest

from neonext_ms.checkpoint.format import TYPES, encode
from neonext_ms.checkpoint.manifest import manifest_path, write_manifest
from neonext_ms.checkpoint.network import load_network
from neonext_ms.checkpoint.store import load_checkpoint, save_checkpoint
from neonext_ms.errors import UserError
from tests.support.cards import CARD
from tests.support.fuzz import mutants, read_or_refused, wrong_values

TINY = {"depths": [1], "dims": [4], "kernels": ["2"], "shifts": [0]}


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "x.ckpt"
    values = {f"a.{dtype}": np.ones((2, 3), dtype) for dtype in TYPES}
    manifest = save_checkpoint(path, values, {**CARD, "model": {**CARD["model"], "overrides": TINY}}, {"b": np.ones(2)})
    return path, manifest


def seal(path, manifest):
    """As `write_manifest`, but for values that JSON does not have."""
    body = json.dumps({"format": 2, **manifest}, indent=1).removesuffix("\n}").encode(errors="surrogatepass")
    end = f',\n "manifest_sha256": "{hashlib.sha256(body).hexdigest()}"\n}}'
    manifest_path(path).write_bytes(body + end.encode())


def test_manifests_of_others(checkpoint):
    """Their checksum fits; what they say does not."""
    path, manifest = checkpoint
    seal(path, manifest)
    assert read_or_refused(load_checkpoint, path)
    read = 0
    for values in wrong_values(manifest, seed=1, count=400):
        if not isinstance(values, dict):
            continue
        seal(path, values)
        read += read_or_refused(load_checkpoint, path)
    assert 0 < read < 200  # of versions and the like nothing is asked


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_manifest_with_what_json_does_not_have_is_refused(checkpoint, value):
    """Also where nothing is asked of it: other programs do not read it."""
    path, manifest = checkpoint
    seal(path, {**manifest, "metrics": {"loss": value}})
    with pytest.raises(UserError, match="x.ckpt.json cannot be read .it holds (NaN|-Infinity), which is no number"):
        load_checkpoint(path)


def test_damaged_manifests(checkpoint):
    path, _ = checkpoint
    data = manifest_path(path).read_bytes()
    for changed in mutants(data, seed=2, count=100):
        manifest_path(path).write_bytes(changed)
        assert not read_or_refused(load_checkpoint, path) or changed == data


@pytest.mark.parametrize("data", [b"[" * 200_000, b'{"a":' * 100_000, b"\xff\xfe{}", b"null", b"9" * 10_000])
def test_json_that_is_hard_to_read(checkpoint, data):
    path, _ = checkpoint
    manifest_path(path).write_bytes(data + f',\n "manifest_sha256": "{hashlib.sha256(data).hexdigest()}"\n}}'.encode())
    assert not read_or_refused(load_checkpoint, path)


def test_parameters_of_others(checkpoint):
    """The manifest says of the file's bytes what they are: only what stands in them is wrong."""
    path, manifest = checkpoint
    data = path.read_bytes()
    for changed in mutants(data, seed=3, count=400):
        path.write_bytes(changed)
        digest = hashlib.sha256(changed).hexdigest()
        write_manifest(
            manifest_path(path), {**manifest, "file": {**manifest["file"], "bytes": len(changed), "sha256": digest}}
        )
        read_or_refused(load_checkpoint, path)


def message(shape: list[int], content: bytes = b"") -> bytes:
    """A file with one parameter of such a shape."""
    from neonext_ms.checkpoint.format import _field, _varint

    dims = b"".join(b"\x08" + _varint(size) for size in shape)
    return _field(1, _field(1, b"a") + _field(2, dims + _field(2, b"Float32") + _field(3, content)))


@pytest.mark.parametrize(
    "shape", [[0] * 33, [0, 2**63], [2**64 - 1, 0], [2**63 - 1] * 3, [0, 2**40, 2**40], [1] * 100_000]
)
def test_shapes_that_no_array_has(checkpoint, shape):
    path, manifest = checkpoint
    data = message(shape)
    path.write_bytes(data)
    file = {**manifest["file"], "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    described = {"a": {"shape": shape[:100], "dtype": "float32"}}
    write_manifest(manifest_path(path), {**manifest, "file": file, "parameters": described})
    assert not read_or_refused(load_checkpoint, path)


def test_networks_of_others(checkpoint):
    """What a card asks for is built only if the file can be its weights; a few of the most hostile."""
    path, manifest = checkpoint
    for overrides in wrong_values(TINY, seed=4, count=60):
        seal(path, {**manifest, "model": {**manifest["model"], "overrides": overrides}})
        with pytest.raises(UserError) as error:
            load_network(path)
        assert "\n" not in str(error.value)


def test_a_file_of_another_size_is_not_read(checkpoint):
    """A terabyte of nothing, which a file system gives for free."""
    path, _ = checkpoint
    with open(path, "ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match="1099511627776 bytes, but"):
        load_checkpoint(path)


def test_the_seeds_are_readable(checkpoint):
    path, manifest = checkpoint
    assert load_checkpoint(path).manifest == {"format": 2, **manifest}
    assert len(b"".join(encode("a", np.ones(3)))) > 24
