"""Checkpoints that are damaged or mixed up: each is refused by name, and the one before is used."""

import random

import pytest

from neonext_ms.checkpoint.manifest import manifest_path
from neonext_ms.checkpoint.store import load_checkpoint, state_path
from neonext_ms.errors import UserError
from neonext_ms.training.run.resume import newest
from tests.support.saves import check, save


def damages(size: int, count: int, rng: random.Random):
    """Places to flip a bit, to zero, to cut and to add: the first and last bytes, and others at random."""
    edges = [*range(12), *range(size - 12, size)]
    for place in edges + [rng.randrange(size) for _ in range(count)]:
        bit = 1 << rng.randrange(8)
        yield f"bit {bit} of byte {place}", lambda data, p=place, b=bit: data[:p] + bytes([data[p] ^ b]) + data[p + 1 :]
        yield f"cut at {place}", lambda data, p=place: data[:p]
    for place in [rng.randrange(size) for _ in range(count // 2)]:
        yield f"another byte at {place}", lambda data, p=place: data[:p] + b"\t" + data[p:]
        yield f"no byte {place}", lambda data, p=place: data[:p] + data[p + 1 :]


def test_every_damage_is_refused_and_the_previous_one_used(folder, caplog):
    save(folder, 2)
    path = folder.checkpoints / "pico-1_2.ckpt"
    rng, cases = random.Random(1), 0
    for file in (path, state_path(path), manifest_path(path)):
        whole = file.read_bytes()
        for what, damage in damages(len(whole), 60, rng):
            damaged = damage(whole)
            if damaged == whole:
                continue
            file.write_bytes(damaged)
            with pytest.raises(UserError) as error:
                load_checkpoint(path)
            assert file.name in str(error.value) and "\n" not in str(error.value), what
            caplog.clear()
            assert newest(folder.checkpoints).manifest["step"] == 1, what
            assert file.name in caplog.text
            cases += 1
        file.write_bytes(whole)
        file.rename(file.with_name("away"))
        with pytest.raises(UserError, match="pico-1_2"):
            load_checkpoint(path)
        file.with_name("away").rename(file)
    assert cases >= 500 and newest(folder.checkpoints).manifest["step"] == 2


def test_manifests_and_files_of_other_checkpoints_do_not_fit(folder):
    save(folder, 2)
    one, two = (folder.checkpoints / f"pico-1_{n}.ckpt" for n in (1, 2))
    for of in (lambda p: p, state_path, manifest_path):
        whole = of(two).read_bytes()
        of(two).write_bytes(of(one).read_bytes())
        with pytest.raises(UserError, match="SHA-256"):
            load_checkpoint(two)
        of(two).write_bytes(whole)
    assert check(folder)[0] == 2


def test_none_that_can_be_used(folder):
    path = folder.checkpoints / "pico-1_1.ckpt"
    path.write_bytes(b"")
    with pytest.raises(UserError, match="none of the 1 checkpoints"):
        newest(folder.checkpoints)
    manifest_path(path).unlink()
    assert newest(folder.checkpoints) is None, "an unfinished one does not count"
