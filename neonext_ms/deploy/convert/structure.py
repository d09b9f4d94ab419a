"""Which network weights belong to, told from their shapes."""

import re
from dataclasses import fields

from neonext_ms.deploy.convert.official import official_name
from neonext_ms.errors import UserError
from neonext_ms.models.neonext import NeoNeXtSpec
from neonext_ms.models.registry import SPECS

# Initial value in the released recipe; the trained ones come with the weights.
LAYER_SCALE = 1e-6


def structure(shapes: dict[str, tuple[int, ...]]) -> tuple[NeoNeXtSpec, int]:
    """The network, and its number of classes, that parameters of these shapes belong to.

    Shifts leave no trace in a shape: they are 1 in all stages but the last.

    Args:
        shapes: by our names; a few may be missing or wrong, which a comparison with the network then tells.

    Raises:
        UserError: too little is there to tell.
    """
    blocks = [found.groups() for name in shapes if (found := re.fullmatch(r"stages\.(\d+)\.(\d+)\..*", name))]
    stages = 1 + max((int(stage) for stage, _ in blocks), default=-1)
    depths = [1 + max((int(b) for s, b in blocks if int(s) == stage), default=-1) for stage in range(stages)]
    try:
        widths = [shapes[f"downsamples.{i}.proj.weight"][0] for i in range(stages - 1)]
        spec = NeoNeXtSpec(
            depths=depths,
            dims=[shapes["stem.proj.weight"][0], *widths],
            kernels=[_kernels(shapes, stage) for stage in range(stages)],
            shifts=[1] * (stages - 1) + [0],
            linear_bias=any(re.search(r"\.fc[12]\.bias$", name) for name in shapes),
            layer_scale=LAYER_SCALE if any(name.endswith(".layer_scale") for name in shapes) else 0.0,
            in_chans=shapes["stem.proj.weight"][1] // 16,
            gate=_gated(shapes),
        )
        return spec, shapes["head.fc.weight"][0]
    except KeyError as error:
        name = error.args[0]
        raise UserError(f"cannot tell which NeoNeXt this is: there is no {official_name(name)} ({name})") from None
    except IndexError:
        raise UserError("cannot tell which NeoNeXt this is: its weights have fewer dimensions than any") from None


def _kernels(shapes, stage: int) -> str:
    """Block sizes of the first block of a stage that has them: "4+7"."""
    groups = {}
    for name, shape in shapes.items():
        if found := re.fullmatch(rf"stages\.{stage}\.\d+\.neocell\.left\.(\d+)", name):
            groups.setdefault(int(found[1]), shape[1])
    if not groups:
        raise KeyError(f"stages.{stage}.0.neocell.left.0")
    return "+".join(str(groups[group]) for group in sorted(groups))


def _gated(shapes) -> bool:
    """Whether every fc2 takes twice as many channels as it gives, where the paper's take four times as many."""
    fc2 = [shape for name, shape in shapes.items() if re.fullmatch(r"stages\..*\.fc2\.weight", name)]
    return {shape[1] == 2 * shape[0] for shape in fc2} == {True}


def model_name(spec: NeoNeXtSpec) -> tuple[str, dict]:
    """Name and overrides with which `create_model` builds a network of this structure.

    It is the name with the fewest overrides, of equals the first of `SPECS`: the paper's, not its form with a gate.
    """
    choices = []
    for name, known in SPECS.items():
        differing = [field.name for field in fields(spec) if getattr(spec, field.name) != getattr(known, field.name)]
        choices.append((len(differing), name, {field: _plain(getattr(spec, field)) for field in differing}))
    return min(choices, key=lambda choice: choice[0])[1:]


def _plain(value):
    return list(value) if isinstance(value, tuple) else value
