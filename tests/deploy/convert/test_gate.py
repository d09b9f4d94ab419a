"""Networks with a gate, of which the authors' code has none: told from the shapes, and refused."""

from dataclasses import replace

import mindspore as ms
import pytest

from neonext_ms import create_model
from neonext_ms.deploy.convert.authors import network_arguments
from neonext_ms.deploy.convert.convert import convert
from neonext_ms.deploy.convert.official import our_name
from neonext_ms.deploy.convert.state_dict import state_dict_bytes
from neonext_ms.deploy.convert.structure import model_name, structure
from neonext_ms.errors import UserError
from neonext_ms.models.registry import SPECS
from tests.deploy.convert.test_convert import official_shapes


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.gate])
def test_a_gate_is_told_from_the_shapes_and_never_from_the_widths(name):
    spec = SPECS[name]
    shapes = {our_name(key): value for key, value in official_shapes(replace(spec, gate=False), 37).items()}
    found, overrides = model_name(structure(shapes)[0])
    assert not found.endswith("_v3") and overrides == {"dims": list(spec.dims)}
    gated = {key: (s[0], s[1] // 2) if key.endswith("fc2.weight") else s for key, s in shapes.items()}
    assert model_name(structure(gated)[0])[0].endswith("_v3")
    gated["stages.1.0.fc2.weight"] = shapes["stages.1.0.fc2.weight"]  # a few may be wrong
    assert not structure(gated)[0].gate


def test_a_network_with_a_gate_has_no_names_in_the_authors_code(tmp_path):
    """Refused clearly, whether the file or its shapes tell the gate."""
    network = create_model("neonext_pico_v3", 3, seed=1, depths=(1, 1), dims=(8, 16), kernels=("7", "7"), shifts=(1, 0))
    ms.save_checkpoint(network, str(tmp_path / "plain.ckpt"))
    ours = tmp_path / "ours.safetensors"
    ours.write_bytes(state_dict_bytes({p.name: p.asnumpy() for p in network.get_parameters()}, ".safetensors"))
    for source in (tmp_path / "plain.ckpt", ours):
        for model in (None, "neonext_pico_v3"):
            with pytest.raises(UserError, match="there is no conversion for networks with gate=True"):
                convert(source, tmp_path / "x.pt", model=model)
    with pytest.raises(UserError, match="no network of the authors' code for networks with gate=True"):
        network_arguments(network)
