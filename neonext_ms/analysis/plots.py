"""Pictures of a training run."""

import io
import json
from pathlib import Path

from neonext_ms.errors import UserError
from neonext_ms.files import write_atomically

# Events of metrics.jsonl: label, colour (distinct for colour-blind readers), style of the line.
_SERIES = {
    "train": ("training", {"color": "#0072B2", "linewidth": 1.2, "marker": ".", "markersize": 3}),
    "eval": ("validation", {"color": "#D55E00", "linewidth": 1.2, "marker": "o", "markersize": 3.5}),
}
# Key in the events, title, factor to the unit of the title.
_PANELS = (
    ("loss", "Loss", 1),
    ("accuracy", "Accuracy (%)", 100),
    ("lr", "Learning rate", 1),
    ("images_per_second", "Training speed (images/s)", 1),
)


def plot_curves(metrics_jsonl: Path, output: Path):
    """Write the picture of `draw_curves`; an older one of that name is replaced."""
    write_atomically(output, draw_curves(metrics_jsonl))


def draw_curves(metrics_jsonl: Path) -> bytes:
    """Draw loss, accuracy, learning rate and speed of a run against its steps.

    Steps that were run again after an interruption count once, as they went the last time. A last line that was cut
    off while it was written is passed over.

    Args:
        metrics_jsonl: one JSON object a line: event ("train", "eval"; others are passed over), step, and any of loss,
            accuracy (0..1), lr, images_per_second.

    Returns:
        a PNG.

    Raises:
        UserError: the file cannot be read or has nothing to draw.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    series = read_series(metrics_jsonl)
    if not any(series.values()):
        raise UserError(f"{metrics_jsonl} has no training or evaluation events, so there are no curves to draw")
    # Not pyplot: its global state and windows have no place in a library.
    figure = Figure(figsize=(9, 6), layout="constrained")
    for axes, (key, title, factor) in zip(figure.subplots(2, 2, sharex=True).flat, _PANELS):
        for event, (label, style) in _SERIES.items():
            points = [(step, values[key]) for step, values in sorted(series[event].items()) if key in values]
            if points:
                steps, values = zip(*points)
                axes.plot(steps, [factor * value for value in values], label=label, **style)
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=8, labelbottom=True)
        axes.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
        axes.set_xlabel("step", fontsize=8)
        if key == "loss":
            axes.legend(fontsize=8, loc="upper right")
        if key == "images_per_second":
            axes.set_ylim(0, None if not axes.lines else 1.1 * max(axes.lines[0].get_ydata()))
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=130)
    return picture.getvalue()


def read_series(metrics_jsonl: Path) -> dict[str, dict[int, dict]]:
    """Training and evaluation events of a run: {"train" | "eval": {step: event}}."""
    try:
        lines = Path(metrics_jsonl).read_text(encoding="utf-8").splitlines(keepends=True)
    except OSError as error:
        raise UserError(f"cannot read {metrics_jsonl} ({error.strerror}): give the metrics.jsonl of a run") from None
    series = {event: {} for event in _SERIES}
    for number, line in enumerate(lines, 1):
        if number == len(lines) and not line.endswith("\n"):
            break
        try:
            entry = json.loads(line)
            if entry["event"] in series:
                series[entry["event"]][int(entry["step"])] = entry
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"line {number} of {metrics_jsonl} is not an event of a training run: give the metrics.jsonl of a run"
            ) from None
    return series
