"""A trained network with other block sizes, such as for a resolution that its blocks do not divide."""

from collections.abc import Sequence
from dataclasses import replace

from mindspore import Tensor

from neonext_ms.errors import UserError
from neonext_ms.models.neonext import NeoNeXt, NeoNeXtSpec
from neonext_ms.ops import parse_spec
from neonext_ms.ops.resample import resample_left, resample_right, resampled_group


def resample_network(network: NeoNeXt, kernels: Sequence[str], backend: str = "auto") -> NeoNeXt:
    """A new network that does the same to a picture of another size with blocks of other sizes.

    All weights are copied; the blocks of the stages' NeoCells are functions that are sampled anew
    (`neonext_ms.ops.resample`). A 7 x 7 network at 384 pixels has planes of 12 x 12 in its last stage: kernels
    ("4+7", "4+7", "7", "12") give it whole blocks there in place of cut ones.

    Args:
        network: of any kind; it is left as it is.
        kernels: for each stage its block sizes, as many as it had, in the form of `NeoNeXtSpec`; or one number for all:
            the new size of the largest blocks, to which those of 4 + 7 keep their proportion.
        backend: of the new network.

    Raises:
        UserError: another number of stages or of block sizes, shifts that the new sizes cannot keep, or blocks that are
            neither the paper's nor those with a gate.
    """
    spec = network.spec
    spec.refuse_other_forms("resampling", taken=["gate"])
    if len(kernels) == 1 and str(kernels[0]).isdecimal():
        kernels = _scaled(spec.kernels, int(kernels[0]))
    if len(kernels) != len(spec.kernels):
        raise UserError(f"kernels must have one entry for each of the {len(spec.kernels)} stages, got {tuple(kernels)}")
    shifts = tuple(_shift(spec, stage, kernel) for stage, kernel in enumerate(kernels))
    made = NeoNeXt(
        replace(spec, kernels=tuple(kernels), shifts=shifts),
        network.num_classes,
        drop_path_rate=network.drop_path_rate,
        features_only=network.features_only,
        out_indices=network.out_indices if network.features_only else None,
        backend=backend,
        seed=0,
    )
    made.default_cfg = network.default_cfg
    values = {p.name: p for p in network.get_parameters()}
    for parameter in made.get_parameters():
        value = values[parameter.name].asnumpy()
        side = parameter.name.split(".")[-2]
        if value.shape != parameter.shape:
            resample = resample_left if side == "left" else resample_right
            value = resample(value, *parameter.shape[1:]).astype(value.dtype)
        parameter.set_data(Tensor(value))
    return made


def _scaled(kernels: Sequence[str], largest: int) -> list[str]:
    """The block sizes of all stages by the factor that makes the largest block so large."""
    sizes = [[int(size) for size in kernel.split("+")] for kernel in kernels]
    before = max(map(max, sizes))
    for stage, own in enumerate(sizes):
        if odd := [size for size in own if size * largest % before]:
            raise UserError(
                f"stage {stage + 1}: blocks of {odd[0]} cannot grow as those of {before} to {largest}: give a multiple "
                f"of {before}, or the sizes of each stage"
            )
    return ["+".join(str(size * largest // before) for size in own) for own in sizes]


def _shift(spec: NeoNeXtSpec, stage: int, kernel: str) -> int:
    """The shift of a stage whose groups become those of `kernel`."""
    before, channels = spec.stage_groups(stage), spec.form.channels(spec.dims[stage])
    after = parse_spec(kernel, channels)
    if len(before) != len(after):
        raise UserError(
            f"stage {stage + 1} has blocks of {spec.kernels[stage]}: give as many sizes for it, got {kernel!r}"
        )
    wanted = [resampled_group(group, new.left[0]) for group, new in zip(before, after)]
    for group in wanted:
        if parse_spec(kernel, channels, group.shift[0]) == wanted:
            return group.shift[0]
    raise UserError(
        f"stage {stage + 1}: blocks of {spec.kernels[stage]} shifted by {spec.shifts[stage]} cannot become {kernel} "
        "with the same shifts: change all sizes by the same factor"
    )
