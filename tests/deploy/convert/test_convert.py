"""The authors' weights in our network and back. neonext_tiny_official.pt was written by torch.save from their code."""

import json
from dataclasses import asdict

import mindspore as ms
import numpy as np
import pytest

from neonext_ms import create_model
from neonext_ms.checkpoint.network import load_network
from neonext_ms.checkpoint.store import load_checkpoint
from neonext_ms.cli import main
from neonext_ms.data import Preprocess
from neonext_ms.deploy import Classifier, export_model
from neonext_ms.deploy.convert.convert import convert, released_preprocess
from neonext_ms.deploy.convert.official import our_name
from neonext_ms.deploy.convert.source import read_weights
from neonext_ms.deploy.convert.state_dict import read_state_dict, state_dict_bytes
from neonext_ms.deploy.convert.structure import model_name, structure
from neonext_ms.deploy.fold.graph import fold
from neonext_ms.deploy.opening import open_model
from neonext_ms.errors import UserError
from neonext_ms.models.registry import SPECS
from tests.support.paths import FIXTURES

OFFICIAL = FIXTURES / "neonext_tiny_official.pt"
EXPECTED = np.load(FIXTURES / "neonext_tiny_official.npz")
NETWORK = {"name": "neonext_t_v2", "num_classes": 10, "overrides": {"depths": [1, 1, 2, 1], "dims": [16, 24, 32, 48]}}


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """(checkpoint, report) of the authors' small network."""
    ms.set_context(mode=ms.GRAPH_MODE)
    path = tmp_path_factory.mktemp("converted") / "tiny.ckpt"
    return path, convert(OFFICIAL, path)


def assert_official(logits):
    assert np.abs(logits - EXPECTED["logits_eval"]).max() <= 1e-4 * np.abs(EXPECTED["logits_eval"]).max()


def test_the_converted_network_gives_the_authors_logits(converted):
    network, card = load_network(converted[0])
    assert_official(network(ms.Tensor(EXPECTED["x"])).asnumpy())
    assert asdict(card.model) == NETWORK
    assert load_checkpoint(converted[0]).manifest["origin"]["file"] == OFFICIAL.name


def test_so_does_the_folded_network(converted):
    network, _ = load_network(converted[0], backend="dense")
    assert_official(fold(network, 224)(ms.Tensor(EXPECTED["x"])).asnumpy())


@pytest.mark.parametrize("suffix", [".mindir", ".onnx"])
def test_so_does_the_exported_file(converted, tmp_path, suffix):
    path = tmp_path / f"tiny{suffix}"
    export_model(converted[0], path, batch_size=2)
    assert_official(open_model(path).network(EXPECTED["x"]))


def test_the_report_counts_and_names_everything(converted):
    report = converted[1]
    state = read_state_dict(OFFICIAL)
    counters = {name for name in state if name.endswith("num_batches_tracked")}
    assert report["model"] == NETWORK and report["names"] == "neonext_ms"
    assert set(report["mapped"]) | counters == set(state)
    assert len(counters) == 9 == len(report["left_out"])
    assert report["mapped"]["stage_3.1.ops.content.neocell.weight_b.1"] == "stages.2.1.neocell.right.1"
    assert report["mapped"]["downsample_2.norm_1.running_var"] == "downsamples.1.norm.moving_variance"
    assert report["tensors"] == len(report["mapped"]) == len(set(report["mapped"].values()))
    assert report["values"] == sum(value.size for name, value in state.items() if name not in counters)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors", ".npz"])
def test_the_way_back_is_bit_equal(converted, tmp_path, suffix):
    """Down to the counters, which differ from one another in the fixture."""
    report = convert(converted[0], tmp_path / f"back{suffix}")
    assert report["names"] == "PyTorch"
    back, there = read_state_dict(tmp_path / f"back{suffix}"), read_state_dict(OFFICIAL)
    assert set(back) == set(there)
    for name, value in there.items():
        assert back[name].dtype == value.dtype and back[name].shape == value.shape, name
        assert back[name].tobytes() == value.tobytes(), name
    assert len({int(value) for name, value in there.items() if name.endswith("tracked")}) > 1


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_our_names_in_files_for_any_program(converted, tmp_path, suffix):
    """There, and from there to a checkpoint and back to PyTorch: of all this only a .npz cannot say what it is."""
    ours, again, theirs = (tmp_path / name for name in (f"ours{suffix}", "again.ckpt", f"theirs{suffix}"))
    assert convert(OFFICIAL, ours)["names"] == "neonext_ms"
    assert set(read_state_dict(ours)) == set(converted[1]["mapped"].values())
    convert(ours, again)
    network, card = load_network(again)
    first, _ = load_network(converted[0])
    for a, b in zip(network.get_parameters(), first.get_parameters()):
        assert a.asnumpy().tobytes() == b.asnumpy().tobytes()
    assert asdict(card.model) == NETWORK
    assert ("origin" in load_checkpoint(again).manifest) == (suffix == ".safetensors")
    assert convert(ours, theirs)["names"] == "PyTorch"
    assert set(read_state_dict(theirs)) == set(read_state_dict(OFFICIAL))


def test_what_a_converted_checkpoint_says_about_images(converted, tmp_path):
    preprocess = Classifier.open(converted[0]).preprocess
    assert preprocess == Preprocess(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0.875, "bilinear")
    for size, short in ((224, 256), (384, 439), (288, 329)):  # round(size / 0.875), as the authors resize
        left, top, right, bottom = released_preprocess(size).centre_box(short, short)
        assert (right - left, bottom - top) == (size, size) and left == top == round((short - size) / 2)
    (tmp_path / "names.txt").write_text("".join(f"class {i}\n" for i in range(10)), encoding="utf-8")
    convert(OFFICIAL, tmp_path / "x.ckpt", image_size=384, class_names=tmp_path / "names.txt")
    manifest = json.loads((tmp_path / "x.ckpt.json").read_text())
    assert manifest["class_names"][9] == "class 9" and manifest["preprocess"]["image_size"] == 384
    assert manifest["model"]["overrides"]["shifts"] == [1, 1, 1, 1]


def official_shapes(spec, classes):
    """Shapes of the authors' state dict for a network, written down from neonext.py."""
    shapes = {"stem.conv.weight": (spec.dims[0], 48, 1, 1), "head.fc.weight": (classes, spec.dims[-1])}
    shapes |= {"head.fc.bias": (classes,), "head.ln.weight": (spec.dims[-1],), "head.ln.bias": (spec.dims[-1],)}
    norms = {"stem.norm": spec.dims[0]}
    for stage, (depth, dim, kernels) in enumerate(zip(spec.depths, spec.dims, spec.kernels), 1):
        if stage < 4:
            down = f"downsample_{stage}"
            shapes[f"{down}.conv.weight"] = (spec.dims[stage], dim, 1, 1)
            shapes[f"{down}.neocell.weight_a.0"] = (spec.dims[stage], 1, 2)
            shapes[f"{down}.neocell.weight_b.0"] = (spec.dims[stage], 2, 1)
            norms[f"{down}.norm_1"] = spec.dims[stage]
        for block in range(depth):
            name = f"stage_{stage}.{block}.ops.content"
            sizes = [int(k) for k in kernels.split("+")]
            for i, k in enumerate(sizes):
                shapes[f"{name}.neocell.weight_a.{i}"] = shapes[f"{name}.neocell.weight_b.{i}"] = (
                    dim // len(sizes),
                    k,
                    k,
                )
            shapes |= {f"{name}.fc_1.weight": (4 * dim, dim), f"{name}.fc_2.weight": (dim, 4 * dim)}
            if spec.linear_bias:
                shapes |= {f"{name}.fc_1.bias": (4 * dim,), f"{name}.fc_2.bias": (dim,)}
            if spec.layer_scale:
                shapes[f"{name}.layer_scale.gamma"] = (dim,)
            norms[f"{name}.norm"] = dim
    leaves = ("weight", "bias", "running_mean", "running_var")
    return shapes | {f"{name}.{leaf}": (dim,) for name, dim in norms.items() for leaf in leaves}


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if not spec.gate])
def test_every_model_is_told_from_its_shapes(name):
    shapes = {our_name(key): value for key, value in official_shapes(SPECS[name], 37).items()}
    assert None not in shapes
    spec, classes = structure(shapes)
    assert (model_name(spec), classes) == ((name, {}), 37)


def test_the_shapes_above_are_those_of_the_authors_network(converted):
    spec = load_network(converted[0])[0].spec
    state = {k: v.shape for k, v in read_state_dict(OFFICIAL).items() if "num_batches" not in k}
    assert official_shapes(spec, 10) == state


def spoil(state, case):
    if case == "missing":
        del state["stage_2.0.ops.content.fc_1.bias"], state["head.ln.weight"]
    elif case == "unexpected":
        state["stage_2.0.ops.content.fc_3.bias"] = state["downsample_9.conv.weight"] = np.zeros(3, np.float32)
    elif case == "wrong shape":
        state["downsample_2.conv.weight"] = state["downsample_2.conv.weight"][:, :5]
    elif case == "wrong type":
        state["head.fc.weight"] = state["head.fc.weight"].astype(np.float64)
    elif case == "not numbers":
        state["stem.norm.running_var"][3:5] = np.nan, np.inf
    elif case == "no classifier":
        del state["head.fc.weight"], state["head.fc.bias"]
    elif case == "named twice":
        state["stage_02.0.ops.content.fc_1.bias"] = state["stage_2.0.ops.content.fc_1.bias"]


WRONG = {
    "missing": ["2 differences:", "stage_2.0.ops.content.fc_1.bias is missing", "head.ln.weight is missing"],
    "unexpected": ["2 differences:", "stage_2.0.ops.content.fc_3.bias is unexpected", "downsample_9.conv.weight is un"],
    "wrong shape": ["1 difference:", "downsample_2.conv.weight has shape (32, 5, 1, 1), expected (32, 24, 1, 1)"],
    "wrong type": ["1 difference:", "head.fc.weight is float64, expected float32"],
    "not numbers": ["1 difference:", "stem.norm.running_var has 2 of 16 values that are not finite numbers"],
    "no classifier": ["x.pt: cannot tell which NeoNeXt this is: there is no head.fc.weight"],
    "named twice": ["1 difference:", "stage_02.0.ops.content.fc_1.bias is unexpected"],
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_weights_are_refused_with_what_differs(tmp_path, case):
    state = read_state_dict(OFFICIAL)
    spoil(state, case)
    (tmp_path / "x.pt").write_bytes(state_dict_bytes(state, ".pt"))
    with pytest.raises(UserError) as error:
        convert(tmp_path / "x.pt", tmp_path / "out.ckpt")
    assert all(words in str(error.value) for words in WRONG[case]), str(error.value)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]


def test_another_variant_is_refused_with_what_it_is(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["convert", "--input", str(OFFICIAL), "--output", str(tmp_path / "x.ckpt"), "--model", "neonext_pico"])
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.count("\n") == 1
    for words in (
        "does not fit neonext_pico (it looks like neonext_t_v2 with other depths, dims)",
        "stem.conv.weight has shape (16, 48, 1, 1), expected (32, 48, 1, 1)",
        "more",
    ):
        assert words in error, error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "network._backbone."]
)
@pytest.mark.parametrize("name", ["x.pt", "x.pth.tar", "x.bin", "x.PTH", "x.ckpt", "x.safetensors"])
def test_files_as_people_have_them(tmp_path, prefix, name):
    """Of compiled, parallel and averaged models, under whatever suffix; a file is what its first bytes say."""
    state = read_state_dict(OFFICIAL)
    prefixed = {f"{prefix}{key}": value for key, value in state.items()} | {"n_averaged": np.array(5)}
    (tmp_path / name).write_bytes(state_dict_bytes(prefixed, ".safetensors" if "safe" in name else ".pt"))
    found = read_weights(tmp_path / name, ema=False)
    expected = read_weights(OFFICIAL, ema=False)
    assert found.values.keys() == expected.values.keys() and not found.unexpected
    assert all(value.tobytes() == expected.values[key].tobytes() for key, value in found.values.items())
    assert found.origin.counters == expected.origin.counters and len(found.origin.counters) == 9


def test_a_prefix_of_some_names_alone_stays(tmp_path):
    state = {"module.a": np.ones(1, np.float32), "b": np.ones(2, np.float32)}
    (tmp_path / "x.pt").write_bytes(state_dict_bytes(state, ".pt"))
    assert set(read_state_dict(tmp_path / "x.pt")) == {"module.a", "b"}


def test_what_mindspore_itself_saved_becomes_a_checkpoint(tmp_path):
    network = create_model("neonext_pico", 3, seed=1, depths=(1, 1), dims=(8, 16), kernels=("4+7", "7"), shifts=(1, 0))
    ms.save_checkpoint(network, str(tmp_path / "plain.ckpt"))
    with pytest.raises(UserError, match="plain.ckpt has no manifest .* make one with neonext convert"):
        export_model(tmp_path / "plain.ckpt", tmp_path / "x.mindir")
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    convert(tmp_path / "plain.ckpt", tmp_path / "ours.ckpt", image_size=32, class_names=tmp_path / "names.txt")
    again, card = load_network(tmp_path / "ours.ckpt")
    assert card.class_names == ("a", "b", "c") and card.preprocess.image_size == 32
    for ours, theirs in zip(again.get_parameters(), network.get_parameters(), strict=True):
        assert ours.name == theirs.name and ours.asnumpy().tobytes() == theirs.asnumpy().tobytes()
    data = (tmp_path / "plain.ckpt").read_bytes()
    (tmp_path / "plain.ckpt").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="plain.ckpt cannot be read .it is cut short.: use another file"):
        convert(tmp_path / "plain.ckpt", tmp_path / "x.ckpt")


def test_the_weights_in_a_training_checkpoint_and_their_average():
    path = FIXTURES / "torch_checkpoint.pt"
    assert "running_var" in read_state_dict(path)  # without its prefix
    assert "bfloat16" in read_state_dict(path, ema=True)
    with pytest.raises(UserError, match="no weights under any of .*model_ema"):
        read_state_dict(OFFICIAL, ema=True)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors", ".npz", ".ckpt", ".bin"])
def test_damaged_and_missing_files_are_one_line(tmp_path, suffix):
    path, output = tmp_path / f"x{suffix}", tmp_path / "y.ckpt"
    for _ in range(2):
        with pytest.raises(UserError, match=str(path)) as error:
            convert(path, output)
        assert "\n" not in str(error.value)
        path.write_bytes(OFFICIAL.read_bytes()[:5000])
    assert list(tmp_path.iterdir()) == [path]


def test_pickles_in_npz_files_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", weight=np.array([print], dtype=object))
    with pytest.raises(UserError, match="not an .npz file of plain arrays"):
        read_state_dict(tmp_path / "x.npz")


def test_nothing_is_overwritten_and_nothing_contradicts_the_source(converted, tmp_path):
    path = converted[0]
    before = path.read_bytes()
    cases = [
        ({"output": path}, "exists already"),
        ({"output": tmp_path / "none" / "x.pt"}, "no folder"),
        ({"output": tmp_path / "x.onnx"}, "must end in one of .ckpt .pt"),
        ({"source": path, "model": "neonext_s"}, "belongs to neonext_t_v2, not to neonext_s"),
        ({"source": path, "image_size": 384}, "says itself what it is"),
        ({"source": path, "ema": True}, "leave ema out"),
        ({"class_names": FIXTURES / "none.txt"}, "cannot read .*none.txt"),
        ({"image_size": 30}, "image of 30 x 30 pixels"),
        ({"shifts": (1, 1)}, "shifts must have one entry for each stage"),
        ({"official": tmp_path}, "not a clone of the authors' repository"),
    ]
    for arguments, message in cases:
        with pytest.raises(UserError, match=message):
            convert(**{"source": OFFICIAL, "output": tmp_path / "x.pt", **arguments})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == []
