"""A training run as one HTML file that needs nothing else: no network, no other file."""

import base64
import html
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from neonext_ms.analysis.plots import draw_curves
from neonext_ms.deploy.opening import open_model
from neonext_ms.errors import UserError
from neonext_ms.evaluation.loader import validation_loader
from neonext_ms.evaluation.predictions import Predictions, predict_split
from neonext_ms.files import write_atomically
from neonext_ms.runtime.ranks import join_ranks
from neonext_ms.terminal import printable
from neonext_ms.texts import read_yaml

MISTAKES = 24  # shown
PAIRS = 10  # of classes that are most often confused
NUMBERED = 20  # classes up to which the confusion matrix has its numbers written into it
THUMBNAIL = 160  # pixels, longer side

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
h1 {{ font-size: 1.5rem }} h2 {{ font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid #ccc }}
table {{ border-collapse: collapse; font-size: .88rem }} td, th {{ padding: .1rem .9rem .1rem 0; text-align: left }}
.plot {{ max-width: 100% }} .columns {{ columns: 2 22rem }} .mistakes {{ display: flex; flex-wrap: wrap; gap: 1rem }}
figure {{ margin: 0; width: 9.5rem; font-size: .8rem; overflow-wrap: anywhere }}
figure img {{ width: 9rem; height: 9rem; object-fit: contain; image-rendering: pixelated; background: #eee }}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""


def write_report(run: Path, output: Path, data_dir: str | None, num_workers: int, device: str) -> dict:
    """Write curves, summary, confusion matrix, most confident mistakes with their pictures, and configuration of a run.

    The matrix and the mistakes are those of the best checkpoint, which is run on its validation data here. Where these
    are missing, as after a run on another machine, the report says why it has neither.

    Args:
        run: folder of the run.
        output: HTML file to write; must not exist.
        data_dir: where the data set is now; where it was in training if null.
        num_workers: processes that prepare batches.
        device: auto, CPU or Ascend.
    Returns: output, mistakes (all of them, null without the data), accuracy (likewise), and missing (why, or null).
    Raises: UserError when the folder holds no run, or the output exists.
    """
    config_file = run / "config.yaml"
    if not config_file.is_file() or not (run / "metrics.jsonl").is_file():
        raise UserError(f"{run} is not the folder of a training run (config.yaml, metrics.jsonl): give one")
    if output.exists():
        raise UserError(f"{output} exists: give another --output, or remove it")
    if not output.parent.is_dir():
        raise UserError(f"the folder {output.parent} does not exist: make it, or give another --output")
    config = read_yaml(config_file)[1]
    sections = [f"<h2>Curves</h2>{_picture(draw_curves(run / 'metrics.jsonl'), 'plot', 'curves')}"]
    sections.append(f"<h2>Summary</h2>{_summary(run / 'summary.json')}")
    predictions, missing = None, None
    try:
        predictions = _predictions(run / "checkpoints" / f"{config['model']}_best.ckpt", data_dir, num_workers, device)
    except UserError as error:
        missing = str(error)
        sections.append(
            f"<h2>Mistakes</h2><p>Not shown, because the best checkpoint was not run: {escape(missing)}</p>"
        )
    else:
        sections += [_confusion(predictions), _mistakes(predictions)]
    sections.append(f'<h2>Configuration</h2><div class="columns">{_table(config.items())}</div>')
    title = escape(f"{config['model']} on {config['dataset']}: {run.resolve().name}")
    write_atomically(output, _PAGE.format(title=title, body="\n".join(sections)))
    mistakes = predictions and int((predictions.labels != predictions.predicted).sum())
    accuracy = predictions and predictions.accuracy
    return {"output": str(output), "mistakes": mistakes, "accuracy": accuracy, "missing": missing}


def _predictions(checkpoint: Path, data_dir: str | None, num_workers: int, device: str) -> Predictions:
    ranks = join_ranks(device)
    model = open_model(checkpoint)
    return predict_split(model, validation_loader(model.card, ranks, data_dir=data_dir, num_workers=num_workers))


def escape(text: str) -> str:
    """Text of others, such as names of classes and files, as HTML that shows it literally."""
    return html.escape(printable(text, keep_bytes=False))


def _summary(path: Path) -> str:
    if not path.is_file():
        return "<p>The run has not ended: there is no summary.json.</p>"
    return _table(_flat(json.loads(path.read_text(encoding="utf-8"))))


def _flat(values: dict, prefix: str = ""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _confusion(predictions: Predictions) -> str:
    names, matrix = predictions.source.class_names, predictions.confusion()
    wrong = matrix * (1 - np.eye(len(matrix), dtype=int))
    order = [at for at in np.argsort(-wrong, axis=None, kind="stable")[:PAIRS] if wrong.flat[at]]
    pairs = [(names[at // len(names)], names[at % len(names)], str(wrong.flat[at])) for at in order]
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in pair)}</tr>" for pair in pairs)
    table = f"<table><tr><th>class</th><th>taken for</th><th>images</th></tr>{rows}</table>" if pairs else ""
    return (
        f"<h2>Confusion matrix</h2><p>Best checkpoint: {100 * predictions.accuracy:.2f} % of "
        f"{len(predictions.labels)} images of {escape(predictions.source.name)} are right.</p>"
        f"{_picture(_draw_confusion(matrix, names), 'plot', 'confusion matrix')}{table}"
    )


def _draw_confusion(matrix: np.ndarray, names: list[str]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 6), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    figure.colorbar(axes.imshow(shares, cmap="Blues", vmin=0, vmax=1), shrink=0.7, label="share of the true class")
    axes.set(xlabel="predicted class", ylabel="true class")
    if len(names) <= NUMBERED:
        shown = [printable(name, keep_bytes=False) for name in names]
        axes.set_xticks(range(len(names)), shown, rotation=90, parse_math=False)  # a $ is a dollar
        axes.set_yticks(range(len(names)), shown, parse_math=False)
        for (row, column), count in np.ndenumerate(matrix):
            colour = "white" if shares[row, column] > 0.5 else "black"
            if count:
                axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=colour)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()


def _mistakes(predictions: Predictions) -> str:
    source, chosen = predictions.source, predictions.mistakes(MISTAKES)
    names = source.class_names
    figures = []
    for at in chosen.tolist():
        index = int(predictions.indices[at])
        image = Image.fromarray(source.image(index))
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        data = io.BytesIO()
        image.save(data, "PNG")
        caption = (
            f"taken for <b>{escape(names[predictions.predicted[at]])}</b> ({100 * predictions.probability[at]:.1f} %), "
            f"is <b>{escape(names[predictions.labels[at]])}</b><br>{escape(source.describe(index))}"
        )
        figures.append(f"<figure>{_picture(data.getvalue(), '', 'mistake')}<figcaption>{caption}</figcaption></figure>")
    shown = f'<div class="mistakes">{"".join(figures)}</div>' if figures else "<p>None.</p>"
    return f"<h2>Most confident mistakes</h2>{shown}"


def _table(rows) -> str:
    cells = (f"<tr><td>{escape(str(key))}</td><td>{escape(json.dumps(value))}</td></tr>" for key, value in rows)
    return f"<table>{''.join(cells)}</table>"


def _picture(png: bytes, css: str, what: str) -> str:
    return f'<img class="{css}" alt="{what}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
