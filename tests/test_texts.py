"""Texts of any usual encoding are read or refused by name, and YAML holds no traps."""

import json
import random
import re
import time
import tracemalloc

import numpy as np
import pytest

from neonext_ms.cli import main
from neonext_ms.errors import UserError
from neonext_ms.texts import read_text, read_yaml, to_json
from neonext_ms.training.config import TrainConfig
from tests.support.paths import ROOT


def saved(tmp_path, data, name="text"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_nan_never_stands_in_json():
    """Other programs do not read it; it is a text there."""
    values = {"loss": float("nan"), "best": [1.5, (float("inf"), -float("inf"))], "name": "NaN", "none": None}
    text = to_json({**values, "numpy": np.float64("nan")}, indent=1)
    assert json.loads(text) == {**values, "loss": "nan", "best": [1.5, ["inf", "-inf"]], "numpy": "nan"}
    assert to_json({"a": [1, 0.5, True]}) == '{"a": [1, 0.5, true]}'


def test_what_is_written_as_json_is_written_by_to_json():
    """Others make texts that nobody reads as JSON: for digests, messages, and between our own processes."""
    own = "texts consistency official_run ascend packing packed shards page parser".split()
    uses = [path for path in (ROOT / "neonext_ms").rglob("*.py") if re.search(r"json\.dumps?\(", path.read_text())]
    assert {path.stem for path in uses} <= {*own, "folder"}
    # packing: of a digest; folder: of the page of a model folder
    assert [path.read_text().count("json.dump") for path in uses if path.stem in ("packing", "folder")] == [1, 1]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path, encoding):
    assert read_text(saved(tmp_path, "Käfer\nZürich\n".encode(encoding))) == "Käfer\nZürich\n"


@pytest.mark.parametrize("mark, encoding", [(b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")])
def test_utf_16_of_either_order(tmp_path, mark, encoding):
    assert read_text(saved(tmp_path, mark + "Käfer".encode(encoding))) == "Käfer"


@pytest.mark.parametrize(
    "data, message",
    [
        ("Hund\nKäfer\n".encode("latin-1"), "line 2 of '.*text' is not utf-8 .byte 0xe4.: save the file as UTF-8"),
        ("Käfer".encode("utf-16-le"), "'.*text' is not utf-8|'.*text' holds zero bytes, as UTF-16"),
        ("Hund".encode("utf-16-be"), "'.*text' holds zero bytes, as UTF-16 without a byte order mark does"),
    ],
)
def test_other_encodings_are_refused_by_name(tmp_path, data, message):
    with pytest.raises(UserError, match=message):
        read_text(saved(tmp_path, data))


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main(list(map(str, arguments)))
    err = capsys.readouterr().err
    assert end.value.code == 2 and err.count("\n") == 1, err
    return err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_configuration_in_any_usual_encoding(tmp_path, capsys, encoding):
    path = saved(tmp_path, "# Käfer\nepochs: 7\nlr: 1e-2\n".encode(encoding), "c.yaml")
    config = TrainConfig.from_yaml(path)
    assert (config.epochs, config.lr) == (7, 0.01)
    assert "image_size" in fails(capsys, "train", "--config", path, "--image_size", 0), "the file itself is taken"


def test_a_configuration_in_latin_1_is_refused_by_name(tmp_path, capsys):
    path = saved(tmp_path, "epochs: 7\n# Käfer\n".encode("latin-1"), "c.yaml")
    assert f"line 2 of '{path}' is not utf-8" in fails(capsys, "train", "--config", path)


@pytest.mark.parametrize(
    "text", ["lr: 0.1\nepochs: 3\nlr: 0.2\n", '"lr": 0.1\nepochs: 3\nlr: 0.2\n', "{lr: 1,\n\nlr: 1}"]
)
def test_a_key_that_stands_twice_is_refused(tmp_path, capsys, text):
    path = saved(tmp_path, text.encode(), "c.yaml")
    assert f"'{path}' names the key 'lr' twice, again in line 3" in fails(capsys, "train", "--config", path)
    with pytest.raises(UserError, match="names the key 'lr' twice"):
        TrainConfig.from_yaml(path)


def bomb(levels):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize("data", [bomb(30), b"a: &a [*a]", b"a: &a {b: *a}", b"lr: &l [1, *l]\nmean: *l"])
def test_a_bomb_of_aliases_is_refused_at_once(tmp_path, capsys, data):
    path = saved(tmp_path, data, "c.yaml")
    begin = time.process_time()
    assert f"'{path}' has more than 10000 values, or repeats itself, through aliases" in fails(
        capsys, "train", "--config", path
    )
    assert time.process_time() - begin < 2


def test_an_alias_that_repeats_a_value_is_fine(tmp_path):
    path = saved(tmp_path, b"mean: &half [0.5, 0.5, 0.5]\nstd: *half\n")
    assert TrainConfig.from_yaml(path).std == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 20000,
        b"[{" * 16000,
        b"{a: " * 8000,
        b"- " * 16000,
        b"a: !!python/object/apply:os.system [ls]",
        b'a: !!int ""',
        b'a: !!bool "x"',
        b'a: !!timestamp "x"',
        b"a: 2001-99-99",
        b"? [a]\n: 1",
        b"a: *nowhere",
        b"a: 'open",
        b"\x07: 1",
        b"a: " + b"9" * 20000,
        b"x" * 40000,
        b"--- 1\n--- 2\n",
    ],
)
def test_what_is_no_configuration_is_refused_in_one_line(tmp_path, data):
    path = saved(tmp_path, data)
    begin = time.process_time()
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    assert time.process_time() - begin < 1
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_fuzzed_configurations(tmp_path):
    """Only a value or a UserError, in a second and little memory."""
    rng = random.Random(0)
    seed = (
        TrainConfig(data_dir="/data", mean=(0.5, 0.5, 0.5)).to_yaml().encode()
        + b"x: &a [1, {b: *a}]\n? k\n: !!set {z}\n"
    )
    tokens = [
        b": ",
        b"- ",
        b"[",
        b"]",
        b"{",
        b"}",
        b"&a ",
        b"*a",
        b"!!int ",
        b"\n  ",
        b"'",
        b'"',
        b"|\n",
        b"? ",
        b"%",
        b"\0",
    ]
    tracemalloc.start()
    for _ in range(60):
        data = bytearray(seed[: rng.choice((100, 600, len(seed)))])
        for _ in range(rng.choice((1, 3, 20))):
            at = rng.randrange(len(data) + 1)
            data[at : at + rng.choice((0, 1, 5))] = rng.choice((rng.choice(tokens), rng.randbytes(2)))
        path = saved(tmp_path, data)
        begin = time.process_time()
        try:
            read_yaml(path)
        except UserError as error:
            assert not re.search(r"[\n\x1b]", str(error))
        assert time.process_time() - begin < 1
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_tilde_is_home_in_every_path_option(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path, b"output_dir: ~/runs/x\ndata_dir: ~/data\npretrained: ~/a.ckpt\nresume: ~/old\n", "c.yaml")
    config = TrainConfig.from_yaml(path)
    found = (config.output_dir, config.data_dir, config.pretrained, config.resume)
    assert found == tuple(f"{tmp_path}/{name}" for name in ("runs/x", "data", "a.ckpt", "old"))
    for arguments in (
        ["validate", "--model=~/gone"],
        ["export", "--checkpoint=~/gone", "--output=x.mindir"],
        ["infer", "--model=x.mindir", "~/gone"],
        ["infer", "--model=~/gone.mindir", str(path)],
        ["convert", "--input=~/gone", "--output=x.ckpt"],
        ["report", "~/gone"],
        ["pack", "--data_dir=~/gone", "--output=~/p"],
        ["train", "--config=~/gone"],
        ["train", "--dataset=folder", "--data_dir=~/gone"],
        ["train", "--pretrained=~/gone", "--resume=~/gone"],
        ["validate", "--model=x.mindir", "--key_file=~/gone"],
    ):
        assert f"{tmp_path}/gone" in fails(capsys, *arguments), arguments
    assert not (tmp_path / "~").exists()
