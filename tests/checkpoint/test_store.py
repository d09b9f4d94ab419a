"""Checkpoints are whole and as written, or refused with a reason."""

import hashlib
import json
import os
import pickle
import stat

import numpy as np
import pytest
from mindspore import Tensor

from neonext_ms import create_model
from neonext_ms.checkpoint.manifest import manifest_path, write_manifest
from neonext_ms.checkpoint.network import load_network
from neonext_ms.checkpoint.store import load_checkpoint, save_checkpoint, save_weights, state_path
from neonext_ms.data import Preprocess
from neonext_ms.errors import UserError

META = {
    "model": {"name": "neonext_pico", "num_classes": 10, "overrides": {"shifts": [1, 1, 1, 1]}},
    "preprocess": Preprocess(32, (0.5,) * 3, (0.5,) * 3).to_dict(),
    "class_names": [str(i) for i in range(10)],
    "dataset": {"name": "digits", "data_dir": None},
    "epoch": 1,
    "step": 7,
    "metrics": {},
}


@pytest.fixture
def network():
    network = create_model("neonext_pico", 10, seed=0, shifts=(1, 1, 1, 1))
    network.stem.norm.moving_mean.set_data(Tensor(np.arange(32, dtype=np.float32)))
    return network


@pytest.fixture
def checkpoint(tmp_path, network):
    path = tmp_path / "a.ckpt"
    save_weights(path, network, META)
    return path


def test_round_trip(checkpoint, network):
    loaded, card = load_network(checkpoint)
    assert (
        card.class_names[7] == "7"
        and load_checkpoint(checkpoint).manifest["step"] == 7
        and loaded.spec.shifts == (1, 1, 1, 1)
    )
    for ours, theirs in zip(network.get_parameters(), loaded.get_parameters(), strict=True):
        assert ours.name == theirs.name
        np.testing.assert_array_equal(ours.asnumpy(), theirs.asnumpy())


def test_files_follow_the_umask_and_nothing_else_is_left(checkpoint):
    umask = os.umask(0)
    os.umask(umask)
    assert {p.name for p in checkpoint.parent.iterdir()} == {"a.ckpt", "a.ckpt.json"}
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o666 & ~umask for p in checkpoint.parent.iterdir())


def test_replacing_a_checkpoint(checkpoint, network):
    network.head.fc.bias.set_data(Tensor(np.full(10, 3, np.float32)))
    save_weights(checkpoint, network, {**META, "step": 8})
    loaded, _ = load_network(checkpoint)
    assert load_checkpoint(checkpoint).manifest["step"] == 8 and (loaded.head.fc.bias.asnumpy() == 3).all()


def read_card(path):
    return json.loads(manifest_path(path).read_text())


def refuse(path, *words):
    with pytest.raises(UserError) as error:
        load_network(path)
    message = str(error.value)
    assert "\n" not in message and all(word in message for word in words), message


def test_weights_alone_need_no_state_of_the_training(tmp_path):
    path = tmp_path / "a-1_7.ckpt"
    weights, state = ({kind: np.full(3, 7, np.float32)} for kind in ("weight", "moment"))
    save_checkpoint(path, weights, META, state)
    assert load_checkpoint(path).state["moment"][0] == 7 and load_checkpoint(path, with_state=False).state is None
    state_path(path).unlink()
    alone = load_checkpoint(path, with_state=False)
    assert alone.state is None and alone.weights["weight"][0] == 7
    with pytest.raises(UserError, match="a-1_7.state.ckpt cannot be read"):
        load_checkpoint(path)


def test_missing_file(tmp_path):
    refuse(tmp_path / "none.ckpt", "none.ckpt", "there is no checkpoint")


def test_missing_manifest(checkpoint):
    manifest_path(checkpoint).unlink()
    refuse(checkpoint, "a.ckpt.json", "interrupted")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 99}', "\xff"])
def test_damaged_manifest(checkpoint, text):
    manifest_path(checkpoint).write_bytes(text.encode("latin-1"))
    refuse(checkpoint, "a.ckpt.json")


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.999999])
def test_truncated_file(checkpoint, share):
    size = checkpoint.stat().st_size
    os.truncate(checkpoint, int(size * share))
    refuse(checkpoint, f"{int(size * share)} bytes", str(size), "cut short")


@pytest.mark.parametrize("share", [0, 0.3, 0.9999])
def test_flipped_bit(checkpoint, share):
    data = bytearray(checkpoint.read_bytes())
    data[int(len(data) * share)] ^= 4
    checkpoint.write_bytes(data)
    refuse(checkpoint, "SHA-256")


def test_parameters_that_the_manifest_does_not_list(checkpoint):
    manifest = load_checkpoint(checkpoint).manifest
    manifest["parameters"]["head.fc.bias"]["dtype"] = "float16"
    write_manifest(manifest_path(checkpoint), manifest)
    refuse(checkpoint, "not those of its manifest")


class Trap:
    """What a pickle would call when it is loaded."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def test_nothing_is_executed_that_a_checkpoint_holds(checkpoint):
    """Even if its maker has given it a manifest that fits."""
    data = pickle.dumps(Trap(checkpoint.with_name("executed")))
    card = {"name": "../../a.ckpt", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    checkpoint.write_bytes(data)
    write_manifest(manifest_path(checkpoint), {**read_card(checkpoint), "file": card})
    refuse(checkpoint, "a.ckpt cannot be read", "not a MindSpore checkpoint")
    assert {p.name for p in checkpoint.parent.iterdir()} == {"a.ckpt", "a.ckpt.json"}


def test_a_name_in_a_manifest_leads_nowhere(checkpoint, network):
    manifest = load_checkpoint(checkpoint).manifest
    (checkpoint.parent / "sub").mkdir()
    path = checkpoint.rename(checkpoint.parent / "sub" / "a.ckpt")
    write_manifest(manifest_path(path), {**manifest, "file": {**manifest["file"], "name": "../b.ckpt"}})
    assert load_checkpoint(path).manifest["step"] == 7, "its files are those beside it, whatever it says"


@pytest.mark.parametrize(
    "model, words",
    [
        (
            {"name": "neonext_t", "num_classes": 10, "overrides": {}},
            ["937578 weights", "neonext_t", "not belong"],
        ),
        ({"name": "neonext_pico", "num_classes": 7, "overrides": {}}, ["10 names", "7 classes"]),
        ({"name": "neonext_pico", "num_classes": 10, "overrides": {"linear_bias": True}}, ["fc1.bias is missing"]),
        ({"name": "neonext_q", "num_classes": 10, "overrides": {}}, ["neonext_q", "neonext_t"]),
    ],
)
def test_a_checkpoint_of_another_model(checkpoint, model, words):
    manifest = load_checkpoint(checkpoint).manifest
    write_manifest(manifest_path(checkpoint), {**manifest, "model": model})
    refuse(checkpoint, *words)


def test_a_failed_write_leaves_the_previous_checkpoint(checkpoint, network, monkeypatch):
    before = load_checkpoint(checkpoint).weights
    network.head.fc.bias.set_data(Tensor(np.full(10, 3, np.float32)))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_weights(checkpoint, network, META)
    monkeypatch.undo()
    after = load_checkpoint(checkpoint).weights
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert {p.name for p in checkpoint.parent.iterdir()} == {"a.ckpt", "a.ckpt.json"}
