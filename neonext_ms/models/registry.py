"""Models by name: the sizes of the paper in two variants, a third with a gate, and small ones for CPUs."""

from collections.abc import Sequence
from dataclasses import fields, replace
from fnmatch import fnmatch

from neonext_ms.data import Preprocess
from neonext_ms.data.channels import for_channels
from neonext_ms.data.sources.base import IMAGENET_MEAN, IMAGENET_STD
from neonext_ms.errors import UserError
from neonext_ms.models.neonext import NeoNeXt, NeoNeXtSpec

_SIZES = {
    "neonext_t": NeoNeXtSpec((3, 3, 9, 3), (96, 192, 384, 768)),
    "neonext_s": NeoNeXtSpec((3, 3, 27, 3), (96, 192, 384, 768)),
    "neonext_b": NeoNeXtSpec((3, 3, 27, 3), (128, 256, 512, 1024)),
    "neonext_l": NeoNeXtSpec((3, 3, 27, 3), (192, 384, 768, 1536)),
    "neonext_xl": NeoNeXtSpec((3, 3, 27, 3), (256, 512, 1024, 2048)),
}


def _released(spec: NeoNeXtSpec) -> NeoNeXtSpec:
    """The variant whose weights the authors released; at 384 pixels use shifts=(1, 1, 1, 1)."""
    return replace(spec, kernels=("4+7",) * 4, linear_bias=True, layer_scale=1e-6)


def _gated(spec: NeoNeXtSpec, width: int) -> NeoNeXtSpec:
    """The form that brought most at the paper's cost (configs/README.md, "What each choice brings"): with a gate.

    `width` is that of the first stage, for at most 5 % more multiply-accumulates than the paper's; it doubles in each.
    """
    return replace(spec, gate=True, dims=[width * 2**stage for stage in range(len(spec.dims))])


SPECS = {
    **_SIZES,
    **{f"{name}_v2": _released(spec) for name, spec in _SIZES.items()},
    "neonext_pico": NeoNeXtSpec((1, 1, 2, 1), (32, 64, 128, 256)),
}
_GATED = {"neonext_t": 112, "neonext_s": 112, "neonext_b": 144, "neonext_pico": 36}
SPECS |= {f"{name}_v3": _gated(SPECS[name], width) for name, width in _GATED.items()}


_SIDES = {"neonext_pico": 32, "neonext_pico_v3": 32}  # of images in pixels, where it is not 224


def list_models(pattern: str = "*") -> list[str]:
    """Names that `create_model` knows and that fit a pattern as a shell has them, such as "*_v2"."""
    return [name for name in SPECS if fnmatch(name, pattern)]


def model_spec(name: str, **overrides) -> NeoNeXtSpec:
    """The structure behind a name, with fields of `NeoNeXtSpec` replaced."""
    if name not in SPECS:
        raise UserError(f"unknown model {name!r}: use one of {', '.join(SPECS)}")
    return replace(SPECS[name], **overrides)


def create_model(name: str, num_classes: int = 1000, seed: int | None = None, **overrides) -> NeoNeXt:
    """Build a network with fresh weights.

    Args:
        name: one of `list_models()`. "neonext_t" is the paper's Table 1, "neonext_t_v2" the released weights' network,
            "neonext_t_v3" that with a gate.
        num_classes: outputs; 0 for pooled features.
        seed: of the initial weights; the same seed gives the same weights on every machine.
        overrides: fields of `NeoNeXtSpec` (shifts, kernels, ...) or arguments of `NeoNeXt` (drop_path_rate,
            features_only, out_indices, backend, init).

    Raises:
        UserError: an unknown name or override.
    """
    structure = {field.name for field in fields(NeoNeXtSpec)}
    arguments = {"drop_path_rate", "features_only", "out_indices", "backend", "init"}
    unknown = set(overrides) - structure - arguments
    if unknown:
        allowed = ", ".join(sorted(structure | arguments))
        raise UserError(f"create_model does not know {', '.join(sorted(unknown))}: it takes {allowed}")
    spec = model_spec(name, **{key: overrides[key] for key in structure & set(overrides)})
    network = NeoNeXt(spec, num_classes, seed=seed, **{key: overrides[key] for key in arguments & set(overrides)})
    usual = Preprocess(_SIDES.get(name, 224), IMAGENET_MEAN, IMAGENET_STD, 0.875)
    network.default_cfg = default_cfg(name, network, usual)
    return network


def default_cfg(name: str, network: NeoNeXt, preprocess: Preprocess, class_names: Sequence[str] | None = None) -> dict:
    """What timm's models say of themselves, by timm's names.

    Args:
        name: of the network's structure.
        network: as it was made.
        preprocess: that its weights expect; mean and std become those of the network's channels.
        class_names: in the order of the logits, where they are known.
    """
    channels = network.spec.in_chans
    return {
        "architecture": name,
        "num_classes": network.num_classes,
        "input_size": (channels, preprocess.image_size, preprocess.image_size),
        "mean": for_channels(preprocess.mean, channels),
        "std": for_channels(preprocess.std, channels),
        "crop_pct": preprocess.crop_pct,
        "interpolation": preprocess.interpolation,
        "first_conv": "stem.proj",
        "classifier": "head.fc",
        "label_names": class_names and tuple(class_names),
    }
