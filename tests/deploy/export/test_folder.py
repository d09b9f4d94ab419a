"""A model folder: what others find in it, and that the model in it is the checkpoint's."""

import json
import re
from dataclasses import asdict

import mindspore as ms
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from neonext_ms import create_model
from neonext_ms.checkpoint.network import load_network
from neonext_ms.checkpoint.store import load_checkpoint, save_checkpoint
from neonext_ms.cli import main
from neonext_ms.deploy import Classifier, export_model, load_features
from neonext_ms.deploy.export.folder import write_folder
from neonext_ms.errors import UserError
from tests.deploy.conftest import MODEL
from tests.support.fuzz import mutants, read_or_refused, wrong_values


@pytest.fixture(scope="module")
def folder(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("published") / "pico-digits"
    write_folder(checkpoint, path)
    return path


def copy(folder, target, **changes):
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    for name, content in changes.items():
        (target / {"config": "config.json", "weights": "model.safetensors"}[name]).write_bytes(content)
    return target


def test_the_files_are_those_that_others_look_for(folder, checkpoint):
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    config = json.loads((folder / "config.json").read_text())
    assert (config["library_name"], config["architecture"]) == ("neonext_ms", "neonext_pico")
    assert config["class_names"][3] == "3" and config["preprocess"]["image_size"] == 32
    assert config["metrics"] == {"accuracy": 0.5} and config["epoch"] == 3
    weights, expected = load_file(folder / "model.safetensors"), load_checkpoint(checkpoint).weights
    assert set(weights) == set(expected)
    assert all(weights[name].tobytes() == value.tobytes() for name, value in expected.items())


def test_the_page_says_what_the_model_is(folder):
    page = (folder / "README.md").read_text()
    head = yaml.safe_load(page.split("---\n")[1])
    assert head["library_name"] == "neonext_ms" and head["pipeline_tag"] == "image-classification"
    assert {"image-classification", "neonext", "mindspore"} <= set(head["tags"])
    (result,) = head["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "accuracy", "value": 0.5}] and result["dataset"]["name"] == "digits"
    config = json.loads((folder / "config.json").read_text())
    for words in ("# `pico-digits`", "9. `9`", "| `image_size` | `32` |", config["file"]["sha256"], "mindspore 2."):
        assert words in page, words
    assert "/tmp" not in page and "None" not in page
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    compile(code, "README.md", "exec")


def test_the_page_of_a_run_has_its_recipe_and_odd_names_forge_nothing(checkpoint, tmp_path):
    """Nothing that says where files lie on this machine, and no class that ends a table, a line or the head."""
    odd = ["a|b", "`x`", "two\nlines", "---", "<b>", "*", "", " ", "\x1b[2J", "ok"]
    loaded = load_checkpoint(checkpoint)
    path = tmp_path / "run" / "checkpoints" / "x_best.ckpt"
    path.parent.mkdir(parents=True)
    card = {**loaded.manifest, "class_names": odd, "dataset": {"name": "folder", "data_dir": "/home/me/photos"}}
    save_checkpoint(path, loaded.weights, card)
    places = "".join(f"{key}: /home/me/x\n" for key in ("data_dir", "output_dir", "pretrained", "resume", "teacher"))
    (path.parent.parent / "config.yaml").write_text(f"model: neonext_pico\nlr: 0.001\n{places}")
    write_folder(path, tmp_path / "x")
    page = (tmp_path / "x" / "README.md").read_text(encoding="utf-8")
    assert "```yaml\nmodel: neonext_pico\nlr: 0.001\n```" in page and "/home/me" not in page
    lines = page.splitlines()
    for line in ("0. `a\\|b`", "1. `` `x` ``", "2. `two\ufffdlines`", "3. `---`", "4. `<b>`", "8. `\ufffd[2J`"):
        assert line in lines, line
    assert yaml.safe_load(page.split("\n---\n")[0].removeprefix("---\n"))["library_name"] == "neonext_ms"
    config = json.loads((tmp_path / "x" / "config.json").read_text())
    assert config["class_names"] == odd and config["dataset"] == {"name": "folder", "data_dir": None}
    assert load_network(tmp_path / "x")[1].class_names == tuple(odd)


def test_the_model_in_it_is_the_checkpoints(folder, checkpoint, images):
    expected = Classifier.open(checkpoint).predict(images, 10)
    assert Classifier.open(folder).predict(images, 10) == expected
    network, card = load_network(folder)
    assert card.class_names == load_checkpoint(checkpoint).card.class_names
    assert asdict(network.spec)["dims"] == (8, 16)
    x = ms.Tensor(np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32))
    for ours, theirs in zip(load_features(folder)(x), load_features(checkpoint)(x), strict=True):
        np.testing.assert_array_equal(ours.asnumpy(), theirs.asnumpy())


def test_it_is_exported_like_a_checkpoint(folder, tmp_path):
    card = export_model(folder, tmp_path / "x.onnx")
    assert card["checkpoint"]["name"] == "pico-digits" and card["verification"]["source"] == "digits/val"


@pytest.mark.parametrize("kind", ["folder", "checkpoint"])
def test_a_network_begins_with_it(folder, checkpoint, kind):
    source = folder if kind == "folder" else checkpoint
    expected = load_checkpoint(checkpoint).weights
    same = create_model("neonext_pico", pretrained=source)
    assert not same.training
    for parameter in same.get_parameters():
        np.testing.assert_array_equal(parameter.asnumpy(), expected[parameter.name])
    other = create_model("neonext_pico", 7, seed=3, pretrained=source, shifts=(1, 1))
    assert other.spec.shifts == (1, 1) and other.num_classes == 7
    fresh = create_model("neonext_pico", 7, seed=3, **{**MODEL["overrides"], "shifts": (1, 1)})
    for parameter, new in zip(other.get_parameters(), fresh.get_parameters(), strict=True):
        value = new.asnumpy() if parameter.name.startswith("head.fc.") else expected[parameter.name]
        np.testing.assert_array_equal(parameter.asnumpy(), value, parameter.name)
    pooled = create_model("neonext_pico", 0, pretrained=source)
    assert "head.fc.weight" not in {p.name for p in pooled.get_parameters()}
    features = create_model("neonext_pico", pretrained=source, features_only=True)
    np.testing.assert_array_equal(features.stem.proj.weight.asnumpy(), expected["stem.proj.weight"])


def test_what_does_not_fit_is_one_line(folder, checkpoint, tmp_path, exported):
    run = tmp_path / "run" / "checkpoints"
    run.mkdir(parents=True)
    (run / "x_best.ckpt").touch()
    cases = [
        (lambda: create_model("neonext_t", pretrained=folder), "pico-digits holds a neonext_pico, not a neonext_t"),
        (lambda: create_model("neonext_pico", pretrained=checkpoint, dims=(8, 32)), "differences, the first: "),
        (lambda: create_model("neonext_pico", pretrained=tmp_path), "no model folder, .* export --format folder makes"),
        (lambda: create_model("neonext_pico", pretrained=run.parent), "its best checkpoint is .*x_best.ckpt"),
        (lambda: create_model("neonext_pico", pretrained=tmp_path / "none"), "there is no checkpoint .*none"),
        (lambda: load_features(exported[2][0]), "two.mindir is an exported file, which has no weights to load"),
        (lambda: write_folder(checkpoint, folder), "pico-digits exists already"),
        (lambda: write_folder(checkpoint, tmp_path / "a" / "b"), "there is no folder .*a to write b in"),
    ]
    for call, message in cases:
        with pytest.raises(UserError, match=message) as error:
            call()
        assert "\n" not in str(error.value)


def test_changed_folders_are_refused(folder, tmp_path):
    data, config = ((folder / name).read_bytes() for name in ("model.safetensors", "config.json"))
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    for i, changes in enumerate(({"weights": data[:-1]}, {"weights": bytes(flipped)})):
        with pytest.raises(UserError, match="model.safetensors is not what config.json describes"):
            load_network(copy(folder, tmp_path / str(i), **changes))
    values = json.loads(config)
    for i, (wrong, message) in enumerate(
        [
            ({**values, "format": 2}, "config.json is not of a model folder of format 1"),
            ({**values, "library_name": "timm"}, "config.json is not of a model folder"),
            ({**values, "class_names": "abcdefghij"}, "config.json: class_names must be a list"),
            ({**values, "file": [1]}, "config.json: file must be an object"),
        ]
    ):
        with pytest.raises(UserError, match=message):
            load_network(copy(folder, tmp_path / f"c{i}", config=json.dumps(wrong).encode()))


def test_folders_of_others(folder, tmp_path):
    path = copy(folder, tmp_path / "x")
    config = (folder / "config.json").read_bytes()
    from neonext_ms.checkpoint.folder import read_folder

    for wrong in wrong_values(json.loads(config), seed=1, count=150):
        (path / "config.json").write_text(json.dumps(wrong))
        read_or_refused(lambda file: read_folder(file.parent), path / "model.safetensors")
    for damaged in mutants(config, seed=2, count=100):
        (path / "config.json").write_bytes(damaged)
        read_or_refused(lambda file: read_folder(file.parent), path / "model.safetensors")


def test_the_command(checkpoint, tmp_path, capsys):
    command = ["export", "--checkpoint", str(checkpoint), "--output", str(tmp_path / "x"), "--format", "folder"]
    with pytest.raises(SystemExit) as end:
        main([*command, "--weights", "float16"])
    assert end.value.code == 2 and "--format folder holds the weights as they were trained" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main(command)
    assert not end.value.code and capsys.readouterr().out.startswith(f"{tmp_path / 'x'}: neonext_pico, 0.0")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
