"""Parameters and multiply-accumulates of a NeoNeXt by arithmetic from its spec; nothing is built or run.

Counted are the matrix products: pointwise layers, NeoCells and the classifier. Norms, GELU, additions and pooling are
not, which is the count that gives the paper's Table 1 (its "GFLOPs" are multiply-accumulates). NeoCells have two
counts: patch-wise, only the blocks, and dense, as matmuls with the block-diagonal matrices including their zeros.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from neonext_ms.errors import UserError
from neonext_ms.markdown import table
from neonext_ms.models.layers import Stem, check_input_size
from neonext_ms.models.neonext import NeoNeXtSpec
from neonext_ms.models.registry import model_spec
from neonext_ms.ops import Group
from neonext_ms.ops.complexity import dense_macs, depthwise_macs, patchwise_macs

# Paper, Table 1: (model, image size) -> millions of parameters, GFLOPs.
PAPER_TABLE_1 = {
    ("neonext_t", 224): (27.7, 4.40),
    ("neonext_s", 224): (49.6, 8.60),
    ("neonext_b", 224): (87.3, 15.19),
    ("neonext_t", 384): (27.7, 13.27),
    ("neonext_s", 384): (49.6, 25.71),
    ("neonext_b", 384): (87.3, 45.21),
}


@dataclass(frozen=True)
class Cost:
    """Trainable parameters, and multiply-accumulates of one image in both counts."""

    parameters: int = 0
    macs_patchwise: int = 0
    macs_dense: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.parameters + other.parameters,
            self.macs_patchwise + other.macs_patchwise,
            self.macs_dense + other.macs_dense,
        )


def layer_costs(spec: NeoNeXtSpec, h: int, w: int, num_classes: int = 1000) -> dict[str, Cost]:
    """Cost of every part of a network for an h x w image, by its name in the network, in the order it runs.

    Raises:
        UserError: the network cannot take that size.
    """
    sizes = check_input_size(h, w, len(spec.dims))
    costs = {"stem": _pointwise(spec.in_chans * Stem.patch**2, spec.dims[0], sizes[0]) + _norm(spec.dims[0])}
    for i, (depth, dim) in enumerate(zip(spec.depths, spec.dims)):
        if i:
            halves = [Group.resample(2, 1, dim)]
            reduction = Cost(4 * dim, patchwise_macs(halves, *sizes[i - 1]), dense_macs(halves, *sizes[i - 1]))
            costs[f"downsamples.{i - 1}"] = _pointwise(spec.dims[i - 1], dim, sizes[i - 1]) + reduction + _norm(dim)
        bias, scale = spec.linear_bias, Cost(dim if spec.layer_scale else 0)
        block = _mixer(spec, i, sizes[i]) + _norm(dim) + scale
        for inputs, outputs in spec.pointwise_sizes(i):
            block += _pointwise(inputs, outputs, sizes[i], bias)
        if spec.grn:
            block += _norm(inputs)  # of fc2
        costs |= {f"stages.{i}.{j}": block for j in range(depth)}
    costs["head"] = _norm(spec.dims[-1]) + _pointwise(spec.dims[-1], num_classes, (1, 1), bias=True)
    return costs


def _pointwise(inputs: int, outputs: int, size: tuple[int, int], bias: bool = False) -> Cost:
    macs = inputs * outputs * size[0] * size[1]
    return Cost(inputs * outputs + (outputs if bias else 0), macs, macs)


def _mixer(spec: NeoNeXtSpec, stage: int, size: tuple[int, int]) -> Cost:
    """The NeoCell of a block, or what stands in its place, which has one count."""
    groups, parameters = spec.stage_groups(stage), spec.mixer_size(stage)
    if spec.mixer == "neocell":
        terms = spec.form.terms
        return Cost(parameters, terms * patchwise_macs(groups, *size), terms * dense_macs(groups, *size))
    macs = depthwise_macs(groups[0].channels, groups[0].left[0], *size)
    return Cost(parameters, macs, macs)


def _norm(channels: int) -> Cost:
    """BatchNorm, LayerNorm or GRN: a scale and an offset a channel."""
    return Cost(2 * channels)


def profile_rows(models: Iterable[str], image_size: int, num_classes: int = 1000) -> list[dict]:
    """Cost of models by name for square images.

    Returns:
        a row a model: model, image_size, parameters, macs_patchwise, macs_dense, and the paper's paper_parameters_m
        (millions) and paper_gmacs, None where its Table 1 has no such row.

    Raises:
        UserError: an unknown model, or a size that it cannot take.
    """
    if num_classes < 0:
        raise UserError(f"num_classes must be at least 0, got {num_classes}")
    rows = []
    for model in models:
        cost = sum(layer_costs(model_spec(model), image_size, image_size, num_classes).values(), Cost())
        parameters, gmacs = PAPER_TABLE_1.get((model, image_size), (None, None))
        rows.append(
            {
                "model": model,
                "image_size": image_size,
                "parameters": cost.parameters,
                "macs_patchwise": cost.macs_patchwise,
                "macs_dense": cost.macs_dense,
                "paper_parameters_m": parameters,
                "paper_gmacs": gmacs,
            }
        )
    return rows


def profile_table(rows: Sequence[dict]) -> str:
    """Rows of `profile_rows`, of any sizes, as a Markdown table, and what its columns mean."""
    # Of small networks on small images 10^9 of them would be 0.003.
    power, unit = (6, "MMACs") if min(row["macs_patchwise"] for row in rows) < 1e8 else (9, "GMACs")
    header = ("model", "image", "params (M)", "paper", f"{unit} patch-wise", f"{unit} dense", "paper")
    body = [
        (
            row["model"],
            str(row["image_size"]),
            f"{row['parameters'] / 1e6:.3f}",
            _paper(row["paper_parameters_m"], 1),
            f"{row['macs_patchwise'] / 10**power:.3f}",
            f"{row['macs_dense'] / 10**power:.3f}",
            _paper(row["paper_gmacs"] and row["paper_gmacs"] * 10 ** (9 - power), 2),
        )
        for row in rows
    ]
    notes = [
        f"{unit}: 10^{power} multiply-accumulates of one image in pointwise layers, NeoCells and the classifier.",
        "patch-wise: the NeoCells' blocks only; dense: their whole block-diagonal matrices, zeros included.",
        "paper: Table 1, whose GFLOPs are multiply-accumulates; - where it has no such row.",
    ]
    if any(row["image_size"] == 384 and row["paper_gmacs"] for row in rows):
        notes.append("The paper's figures at 384 agree with neither count.")
    return table((header, *body), right=True) + "\n\n" + "\n".join(notes)


def _paper(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
