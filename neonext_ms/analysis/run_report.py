"""A training run as one HTML file that needs nothing else: no network, no other file."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neonext_ms.analysis import page
from neonext_ms.analysis.pictures import to_png
from neonext_ms.analysis.plots import curves_of, draw_panels
from neonext_ms.data.channels import to_show
from neonext_ms.deploy.opening import open_model
from neonext_ms.errors import UserError
from neonext_ms.evaluation.loader import validation_loader
from neonext_ms.evaluation.predictions import Predictions, predict_split
from neonext_ms.files import write_atomically
from neonext_ms.runtime.ranks import join_ranks
from neonext_ms.texts import read_yaml
from neonext_ms.training.run.progress import duration
from neonext_ms.training.run.summary import read_summary

MISTAKES = 24  # shown
PAIRS = 10  # of classes that are most often confused
LISTED = 20  # classes up to which all have their line, and the confusion matrix its numbers
_NEEDED = ("model", "dataset", "image_size", "epochs")  # of a configuration
THUMBNAIL = 160  # pixels, longer side


@dataclass(frozen=True)
class Tried:
    """The best checkpoint on its validation split.

    Attributes:
        predictions: of the images that can be read.
        folder: where the data set is; descriptions of images are shown relative to it.
    """

    predictions: Predictions
    folder: str | None


def write_report(run: Path, output: Path, data_dir: str | None, num_workers: int, device: str) -> dict:
    """Write a run's result, curves, accuracy by class, confusion matrix, most confident mistakes and configuration.

    Matrix and mistakes are those of the best checkpoint, which is run on its validation data here. Where these are
    missing, as after a run on another machine, the report says why it has neither.

    Args:
        run: folder of the run.
        output: HTML file to write; must not exist.
        data_dir: where the data set is now; where it was in training if null.
        num_workers: processes that prepare batches.
        device: auto, CPU or Ascend.
    Returns: output, mistakes (all of them, null without the data), accuracy (likewise), and missing (why, or null).
    Raises: UserError when the folder holds no run, or the output exists.
    """
    config = _check(run, output)
    curves = curves_of(run, config)
    summary_file = run / "summary.json"
    summary = read_summary(summary_file) if summary_file.exists() else None
    pictures = "".join(page.picture(png, "panel", title) for title, png in draw_panels(curves))
    sections = [page.section("Curves", f'<div class="panels">{pictures}</div>')]
    tried, missing = None, None
    try:
        checkpoint = run / "checkpoints" / f"{config['model']}_best.ckpt"
        tried = _predictions(checkpoint, data_dir, num_workers, device)
    except UserError as error:
        missing = str(error)
        text = f"<p>Not shown, because the best checkpoint was not run: {page.text(missing)}</p>"
        sections.append(page.section("Mistakes", text))
    else:
        sections += [_classes(tried.predictions), _confusion(tried.predictions), _mistakes(tried)]
    sections.append(page.section("Summary", _summary(summary)))
    sections.append(page.section("Configuration", page.facts(config.items())))
    predictions = tried and tried.predictions
    headline = _headline(config, summary, predictions)
    title = f"{config['model']} on {config['dataset']}: {run.resolve().name}"
    write_atomically(output, page.page(title, headline, sections))
    mistakes = predictions and int((predictions.labels != predictions.predicted).sum())
    accuracy = predictions and predictions.accuracy
    return {"output": str(output), "mistakes": mistakes, "accuracy": accuracy, "missing": missing}


def _check(run: Path, output: Path) -> dict:
    """The run's configuration, after a look at what was asked for."""
    config_file = run / "config.yaml"
    if not config_file.is_file() or not (run / "metrics.jsonl").is_file():
        raise UserError(f"{run} is not the folder of a training run (config.yaml, metrics.jsonl): give one")
    if output.exists():
        raise UserError(f"{output} exists: give another --output, or remove it")
    if not output.parent.is_dir():
        raise UserError(f"the folder {output.parent} does not exist: make it, or give another --output")
    config = read_yaml(config_file)[1]
    if lacking := [key for key in _NEEDED if not isinstance(config, dict) or config.get(key) is None]:
        raise UserError(f"{config_file} is not the configuration of a training run: it has no {lacking[0]}")
    return config


def _predictions(checkpoint: Path, data_dir: str | None, num_workers: int, device: str) -> Tried:
    ranks = join_ranks(device)
    model = open_model(checkpoint)
    loader = validation_loader(model.card, ranks, data_dir=data_dir, num_workers=num_workers)
    return Tried(predict_split(model, loader), data_dir or (model.card.dataset and model.card.dataset.data_dir))


def _headline(config: dict, summary: dict | None, predictions: Predictions | None) -> str:
    """The result in large letters, and in one line what was run."""
    facts = [f"{config['image_size']} x {config['image_size']} pixels", f"{config['epochs']} epochs"]
    if summary:
        best, final = summary["best"], summary["final"]
        facts += [f"{summary['parameters'] / 1e6:.2f} M parameters", f"best in epoch {best['epoch']}"]
        facts += [f"last epoch {100 * final['accuracy']:.2f} %", duration(summary["total_seconds"])]
    if predictions:
        right = f"{100 * predictions.accuracy:.2f} % of {len(predictions.labels)} validation images are right"
    elif summary:
        right = f"{100 * summary['best']['accuracy']:.2f} % of {summary['best']['images']} validation images were right"
    else:
        right = "The run has not ended"
    return f'<p class="headline">{right}</p><p>{", ".join(facts)}.</p>'


def _summary(summary: dict | None) -> str:
    if summary is None:
        return "<p>The run has not ended: there is no summary.json.</p>"
    return page.facts(_flat(summary))


def _flat(values: dict, prefix: str = ""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _classes(predictions: Predictions) -> str:
    """Accuracy by class, the worst first."""
    matrix, names = predictions.confusion(), predictions.source.class_names
    counts, right = matrix.sum(1), matrix.diagonal()
    order = [i for i in np.argsort(right / np.maximum(counts, 1), kind="stable") if counts[i]]
    rows = [(names[i], str(counts[i]), f"{100 * right[i] / counts[i]:.1f} %") for i in order[:LISTED]]
    left = f"<p>The worst {LISTED} of {len(order)} classes.</p>" if len(order) > LISTED else ""
    return page.section("Accuracy by class", left + page.table(rows, ("class", "images", "right")))


def _confusion(predictions: Predictions) -> str:
    names, matrix = predictions.source.class_names, predictions.confusion()
    wrong = matrix * (1 - np.eye(len(matrix), dtype=int))
    order = [at for at in np.argsort(-wrong, axis=None, kind="stable")[:PAIRS] if wrong.flat[at]]
    pairs = [(names[at // len(names)], names[at % len(names)], str(wrong.flat[at])) for at in order]
    table = page.table(pairs, ("class", "taken for", "images")) if pairs else ""
    drawn = (
        page.heat_table(matrix, names)
        if len(names) <= LISTED
        else page.picture(_draw_confusion(matrix), "plot", "confusion matrix")
    )
    about = "<p>Rows are true classes, columns what they were taken for.</p>"
    return page.section("Confusion matrix", about + drawn + table)


def _draw_confusion(matrix: np.ndarray) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.6), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    figure.colorbar(axes.imshow(shares, cmap="Blues", vmin=0, vmax=1), shrink=0.7, label="share of the true class")
    axes.set(xlabel="predicted class", ylabel="true class")
    return to_png(figure, 150)


def _mistakes(tried: Tried) -> str:
    predictions = tried.predictions
    source, chosen = predictions.source, predictions.mistakes(MISTAKES)
    names = source.class_names
    figures = []
    for at in chosen.tolist():
        index = int(predictions.indices[at])
        image = to_show(source.image(index))
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        data = io.BytesIO()
        image.save(data, "PNG")
        caption = (
            f"taken for <b>{page.text(names[predictions.predicted[at]])}</b> "
            f"({100 * predictions.probability[at]:.1f} %), is <b>{page.text(names[predictions.labels[at]])}</b><br>"
            f"{page.text(_relative(source.describe(index), tried.folder))}"
        )
        figures.append(
            f"<figure>{page.picture(data.getvalue(), '', 'mistake')}<figcaption>{caption}</figcaption></figure>"
        )
    shown = f'<div class="mistakes">{"".join(figures)}</div>' if figures else "<p>None.</p>"
    return page.section("Most confident mistakes", shown)


def _relative(description: str, folder: str | None) -> str:
    """A path below the data set's folder without that folder."""
    try:
        return str(Path(description).relative_to(Path(folder or "").expanduser()))
    except ValueError:
        return description
