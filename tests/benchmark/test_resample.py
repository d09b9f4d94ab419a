"""The accuracy of a network whose blocks are sampled anew: of its own sizes its own, else that of its exported file."""

import json

import pytest

from neonext_ms.deploy import export_model
from neonext_ms.deploy.validate import validate
from tests.support.cli import run

OPTIONS = ["--num_workers", 0, "--json"]


def test_networks_are_evaluated_on_images_of_each_size(capsys, checkpoint, tmp_path):
    sizes = ["--image_sizes", 32, 64]
    code, out, err = run(capsys, "benchmark", "resample", "--model", checkpoint, "--kernels", 7, 14, *sizes, *OPTIONS)
    assert code == 0, err
    rows = json.loads(out)
    assert [(row["image_size"], row["kernels"], row["trained"]) for row in rows] == [
        (32, "4+7 7", True),
        (32, "4+7 7", False),
        (32, "8+14 14", False),
        (64, "4+7 7", False),
        (64, "4+7 7", False),
        (64, "8+14 14", False),
    ]
    own, again, *_, doubled = ((row["accuracy"], row["loss"]) for row in rows)
    assert own == again
    export_model(checkpoint, tmp_path / "doubled.mindir", kernels=["14"], image_size=64)
    for file, found in ((checkpoint, own), (tmp_path / "doubled.mindir", doubled)):
        expected = validate(file)
        assert found == pytest.approx((expected["accuracy"], expected["loss"]), rel=1e-4)


def test_blocks_of_a_stage_are_given_with_commas(capsys, checkpoint):
    command = ["benchmark", "resample", "--model", checkpoint, "--kernels"]
    code, out, _ = run(capsys, *command, "4+7,12", *OPTIONS)
    assert code == 0 and [row["kernels"] for row in json.loads(out)] == ["4+7 7", "4+7 12"]
    code, _, err = run(capsys, *command, "7,7,12", *OPTIONS)
    assert code == 2 and "one entry for each of the 2 stages, got ('7', '7', '12')" in err
