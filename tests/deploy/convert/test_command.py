"""`neonext convert`: each of its options reaches the conversion."""

import json
import re

from neonext_ms.models.registry import SPECS
from tests.support.cli import run
from tests.support.paths import FIXTURES

OFFICIAL = FIXTURES / "neonext_tiny_official.pt"


def test_every_option_of_the_command_reaches_the_conversion(capsys, tmp_path):
    (tmp_path / "names.txt").write_text("".join(f"class {i}\n" for i in range(10)))
    options = ["--shifts", 1, 0, 1, 0, "--image_size", 288, "--class_names", tmp_path / "names.txt", "--kernels", 14]
    code, _, err = run(capsys, "convert", "--input", OFFICIAL, "--output", tmp_path / "x.ckpt", *options)
    assert code == 0, err
    manifest = json.loads((tmp_path / "x.ckpt.json").read_text())
    overrides = manifest["model"]["overrides"]
    assert overrides["shifts"] == [2, 0, 2, 0], "in pixels of blocks twice as large"
    assert overrides["kernels"] != list(SPECS["neonext_t_v2"].kernels)
    assert manifest["class_names"][9] == "class 9" and manifest["preprocess"]["image_size"] == 288
    for option, message in (
        ("--ema=true", "no weights under any of .*model_ema"),
        ("--model=neonext_pico", "does not fit neonext_pico"),
        (f"--verify={tmp_path}", "clone of the authors' repository"),
    ):
        code, _, err = run(capsys, "convert", "--input", OFFICIAL, "--output", tmp_path / "y.ckpt", option)
        assert code == 2 and re.search(message, err), err
