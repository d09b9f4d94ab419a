"""Trained blocks with other sizes in what is converted and exported."""

import mindspore as ms
import numpy as np
import pytest

from neonext_ms.checkpoint.network import load_network
from neonext_ms.checkpoint.store import load_checkpoint
from neonext_ms.cli import main
from neonext_ms.deploy import export_model
from neonext_ms.deploy.convert.convert import convert
from neonext_ms.deploy.opening import open_model
from neonext_ms.models.resample import resample_network
from tests.support.tiny import TINY


def test_a_converted_checkpoint_has_the_resampled_blocks_and_its_card_says_so(checkpoint, tmp_path):
    made = tmp_path / "made.ckpt"
    result = convert(checkpoint, made, kernels=["14"])
    network, card = load_network(made)
    assert result["model"]["overrides"] == card.model.overrides
    assert card.model.overrides == {**TINY, "layer_scale": 0.5, "kernels": ["8+14", "14"], "shifts": [2, 0]}
    expected = resample_network(load_network(checkpoint)[0], ("8+14", "14"))
    for own, other in zip(network.get_parameters(), expected.get_parameters(), strict=True):
        np.testing.assert_array_equal(own.asnumpy(), other.asnumpy())


@pytest.mark.parametrize("words", [["14"], ["[14]"], ["8+14", "14"], ["[8+14, 14]"]])
def test_block_sizes_on_the_command_line(checkpoint, tmp_path, capsys, words):
    with pytest.raises(SystemExit) as end:
        main(["convert", "--input", str(checkpoint), "--output", str(tmp_path / "made.ckpt"), "--kernels", *words])
    assert end.value.code == 0, capsys.readouterr().err
    assert load_checkpoint(tmp_path / "made.ckpt").card.model.overrides["kernels"] == ["8+14", "14"]


def test_an_exported_file_computes_with_the_resampled_blocks(checkpoint, tmp_path):
    path = tmp_path / "x.mindir"
    card = export_model(checkpoint, path, batch_size=2, image_size=64, kernels=["8+14", "7"])
    assert card["model"]["overrides"] == {**TINY, "layer_scale": 0.5, "kernels": ["8+14", "7"], "shifts": [2, 0]}
    x = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    network = resample_network(load_network(checkpoint, backend="dense")[0], ("8+14", "7"), "dense")
    expected = network(ms.Tensor(x)).asnumpy()
    np.testing.assert_allclose(open_model(path).network(x), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
