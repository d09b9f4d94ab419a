"""A trained network looked at: pictures of what it has learned, and one HTML page of them without outside resources."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from neonext_ms.analysis import page
from neonext_ms.analysis.learned import (
    Blocks,
    Stages,
    blocks_of,
    class_activation,
    receptive_fields,
    side_of,
    with_convolutions,
)
from neonext_ms.analysis.pictures import to_image, to_png
from neonext_ms.checkpoint.card import ModelCard
from neonext_ms.checkpoint.network import build_with, load_trained
from neonext_ms.deploy.export.output import check_output, name_folder, workplace
from neonext_ms.deploy.image_files import image_paths, read_with_note
from neonext_ms.errors import UserError
from neonext_ms.evaluation.scores import log_softmax

PAGE = "index.html"
SHOWN = 8  # channels of one size in one stage
IMAGES = 8  # of the validation split, where none are given
SHARES = (0.5, 0.9, 0.99)  # of a receptive field


def inspect_model(checkpoint: str | Path, output: str | Path, images: list[str]) -> dict:
    """Write pictures of blocks, stencils, singular values, receptive fields and class activation, and a page of them.

    Args:
        checkpoint: .ckpt file or a model folder.
        output: folder to write, which must not exist; it appears whole or not at all.
        images: files or folders to look at; a few of the model's validation split if there are none.

    Returns:
        output, page, distances {blocks: median distance from the identity}, sides {network: [[side that holds a share
        of SHARES, in pixels] for each stage]}, images.

    Raises:
        UserError: the checkpoint cannot be used, the images cannot be read, or the output exists.
    """
    output = Path(output).expanduser()
    check_output(output, folder=True)
    trained = load_trained(checkpoint)
    network = build_with(trained).set_train(False)
    names, pixels = _images(trained.card, images)
    inputs = np.stack([trained.card.preprocess(one) for one in pixels])
    found = blocks_of(network)
    fields = {
        "trained": _fields(network, inputs),
        "untrained": _fields(trained.card.build(), inputs),
        "untrained, depthwise 7 x 7": _fields(with_convolutions(trained.card.build()), inputs),
    }
    sides = {name: [[side_of(f, share, n) for share in SHARES] for f, n in own] for name, own in fields.items()}
    pictures = {blocks_file(one): _draw_blocks(one) for one in found}
    pictures["values.png"] = _draw_values(found)
    pictures["receptive_fields.png"] = _draw_fields(fields)
    # The deepest that still tells places apart.
    stage = max((i for i, (_, side) in enumerate(fields["trained"], 1) if side >= 4), default=1)
    shown, captions = _activations(network, trained.card, inputs, names, stage)
    pictures |= shown
    model = trained.card.model
    headline = (
        f'<p class="headline">What {page.text(model.name)} has learned</p>'
        f"<p>{page.text(str(checkpoint))}: {model.num_classes} classes, {inputs.shape[-1]} pixels.</p>"
    )
    sections = [
        _blocks_section(found, pictures),
        _values_section(found, pictures),
        _fields_section(sides, pictures),
        _activation_section(shown, captions, stage),
    ]
    with workplace(output) as place:
        folder = place / "folder"
        folder.mkdir()
        for name, png in pictures.items():
            (folder / name).write_bytes(png)
        title = f"{model.name}: {Path(checkpoint).name}"
        (folder / PAGE).write_text(page.page(title, headline, sections), encoding="utf-8")
        name_folder(folder, output)
    distances = {one.name: float(np.median(one.distances())) for one in found}
    return {
        "output": str(output),
        "page": str(output / PAGE),
        "distances": distances,
        "sides": sides,
        "images": names,
    }


def blocks_file(one: Blocks) -> str:
    """The name of the picture of these blocks."""
    return f"blocks_stage{one.stage}_{one.size}.png"


def _images(card: ModelCard, images: list[str]) -> tuple[list[str], list[np.ndarray]]:
    if images:
        names = list(image_paths(images))
        return names, [read_with_note(name)[0] for name in names]
    try:
        source = card.validation_source()
    except UserError as error:
        raise UserError(f"{error}; or give images to look at") from None
    found = source.readable(IMAGES)
    return [source.describe(index) for index, _ in found], [pixels for _, pixels in found]


def _fields(network, inputs: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """The receptive field of each stage, and the side of its plane."""
    sides = [inputs.shape[-1] // info["reduction"] for info in network.feature_info]
    return list(zip(receptive_fields(Stages(network.set_train(False)), inputs), sides))


def _draw_blocks(one: Blocks) -> bytes:
    """Channels from the one that is nearest to the identity to the farthest: A, B, and both on a single pixel."""
    from matplotlib.figure import Figure

    distances = one.distances()
    count = min(SHOWN, len(distances))
    chosen = np.argsort(distances, kind="stable")[np.linspace(0, len(distances) - 1, count).round().astype(int)]
    figure = Figure(figsize=(8.4, 3.9), layout="constrained")
    grid = figure.subplots(3, count, squeeze=False)
    rows = (("A, left", one.left), ("B, right", one.right), ("one pixel", one.stencils()))
    for line, (name, values) in zip(grid, rows):
        limit = np.abs(values[chosen]).max() or 1
        for axes, channel in zip(line, chosen):
            drawn = axes.imshow(values[channel], cmap="RdBu_r", vmin=-limit, vmax=limit)
            axes.set(xticks=[0, one.size - 1], yticks=[0, one.size - 1])
            axes.tick_params(labelsize=6)
        line[0].set_ylabel(f"{name}\nrow", fontsize=8)
        figure.colorbar(drawn, ax=list(line), shrink=0.9).ax.tick_params(labelsize=7)
    for axes, channel in zip(grid[0], chosen):
        axes.set_title(f"{distances[channel]:.2f}", fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("column", fontsize=7)
    figure.suptitle(f"{one.name}: {count} of {len(distances)} channels, by distance from the identity", fontsize=9)
    return to_png(figure, 110)


def _draw_values(found: list[Blocks]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.boxplot([one.distances() for one in found], showfliers=False)
    left.set_xticks(range(1, len(found) + 1), [f"{one.stage}\n{one.size} x {one.size}" for one in found], fontsize=8)
    left.set(xlabel="stage and block", ylabel="distance from the identity", ylim=(0, None))
    for one in found:
        values = one.singular_values()
        low, middle, high = np.percentile(values, (25, 50, 75), axis=0)
        (line,) = right.plot(range(1, one.size + 1), middle, marker=".", label=one.name)
        right.fill_between(range(1, one.size + 1), low, high, alpha=0.15, color=line.get_color())
    right.set(xlabel="number of the singular value", ylabel="singular value (median, quartiles)", ylim=(0, None))
    right.legend(fontsize=7)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return to_png(figure, 110)


def _draw_fields(fields: dict[str, list[tuple[np.ndarray, int]]]) -> bytes:
    from matplotlib.figure import Figure

    stages = len(next(iter(fields.values())))
    figure = Figure(figsize=(8.4, 1.9 * len(fields) + 0.4), layout="constrained")
    grid = figure.subplots(len(fields), stages, squeeze=False, sharex=True, sharey=True)
    for line, (name, own) in zip(grid, fields.items()):
        line[0].set_ylabel(f"{name}\nrow (pixels)", fontsize=8)
        for axes, (field, _) in zip(line, own):
            shares = np.log10(np.maximum(field / (field.max() or 1), 1e-4))
            drawn = axes.imshow(shares, cmap="magma", vmin=-4, vmax=0)
            axes.tick_params(labelsize=7)
    for i, axes in enumerate(grid[0], 1):
        axes.set_title(f"stage {i}", fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("column (pixels)", fontsize=8)
    figure.colorbar(drawn, ax=grid, shrink=0.6, label="gradient, of the largest (log10)")
    return to_png(figure, 110)


def _draw_activation(image: Image.Image, activation: np.ndarray) -> bytes:
    """The image as the network sees it, and beside it the same with what speaks for the class in colour."""
    from matplotlib import colormaps

    side = max(224, image.width)
    shown = image.resize((side, side), Image.Resampling.NEAREST)
    share = activation / (activation.max() or 1)
    heat = Image.fromarray(np.uint8(255 * colormaps["inferno"](share)[..., :3])).resize((side, side), Image.BILINEAR)
    both = Image.new("RGB", (2 * side + 4, side), "white")
    both.paste(shown, (0, 0))
    both.paste(Image.blend(shown, heat, 0.55), (side + 4, 0))
    data = io.BytesIO()
    both.save(data, "PNG")
    return data.getvalue()


def _activations(network, card: ModelCard, inputs: np.ndarray, names: list[str], stage: int):
    """PNGs by file name, and what stands below each."""
    logits, activation = class_activation(network, inputs, stage)
    shown, captions = {}, []
    for i, (name, scores) in enumerate(zip(names, log_softmax(logits))):
        best = int(scores.argmax())
        captions.append(
            f"<b>{page.text(card.class_names[best])}</b> ({100 * np.exp(scores[best]):.1f} %)<br>{page.text(name)}"
        )
        shown[f"activation_{i + 1}.png"] = _draw_activation(to_image(inputs[i], card.preprocess), activation[i])
    return shown, captions


def _blocks_section(found: list[Blocks], pictures: dict[str, bytes]) -> str:
    about = (
        "<p>A works on the rows and B on the columns of every block of a plane. The last line is what both make of a "
        "plane that is 1 in the middle of a block and 0 elsewhere. Red is positive, blue negative; numbers above are "
        "distances from the identity, which training began near to.</p>"
    )
    drawn = [page.picture(pictures[blocks_file(one)], "plot", f"blocks of {one.name}") for one in found]
    return page.section("Blocks", about + "".join(drawn))


def _values_section(found: list[Blocks], pictures: dict[str, bytes]) -> str:
    rows = [
        (one.name, float(np.median(one.distances())), float(np.median(one.singular_values()[:, 0]))) for one in found
    ]
    table = page.table(rows, ("blocks", "median distance from the identity", "median largest singular value"))
    drawn = page.picture(pictures["values.png"], "plot", "distances and singular values")
    return page.section("Distance from the identity and singular values", drawn + table)


def _fields_section(sides: dict[str, list[list[int]]], pictures: dict[str, bytes]) -> str:
    about = (
        "<p>How much each pixel of the input counts for the features in the middle of a stage's output (gradients, "
        "summed over channels and images), for this network, for the same one before training, and for that with "
        "ConvNeXt's depthwise convolutions in the place of its NeoCells.</p>"
    )
    rows = [
        (name, str(stage), *(f"{side}" for side in own))
        for name, stages in sides.items()
        for stage, own in enumerate(stages, 1)
    ]
    heads = ("network", "stage", *(f"{100 * share:.0f} % within (pixels)" for share in SHARES))
    drawn = page.picture(pictures["receptive_fields.png"], "plot", "receptive fields")
    return page.section("Effective receptive field", about + drawn + page.table(rows, heads))


def _activation_section(shown: dict[str, bytes], captions: list[str], stage: int) -> str:
    about = f"<p>Bright is what speaks for the class that the network names (Grad-CAM of stage {stage}).</p>"
    figures = [
        f"<figure>{page.picture(png, '', 'class activation')}<figcaption>{caption}</figcaption></figure>"
        for png, caption in zip(shown.values(), captions)
    ]
    return page.section("Class activation", about + f'<div class="panels">{"".join(figures)}</div>')
