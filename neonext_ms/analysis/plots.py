"""Pictures of a training run."""

import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path

from neonext_ms.analysis.pictures import to_png
from neonext_ms.checkpoint.fields import check_type, parse_json
from neonext_ms.errors import UserError
from neonext_ms.files import open_regular, write_atomically

# Events of metrics.jsonl that are drawn: colour (distinct for colour-blind readers) and style of the line.
_STYLES = {
    "train": {"color": "#0072B2", "linewidth": 1.2, "marker": ".", "markersize": 3},
    "eval": {"color": "#D55E00", "linewidth": 1.2, "marker": "o", "markersize": 3.5},
}
# Key in the events, title, factor to the unit of the title.
PANELS = (
    ("loss", "Loss", 1),
    ("accuracy", "Accuracy (%)", 100),
    ("lr", "Learning rate", 1),
    ("images_per_second", "Training speed (images/s)", 1),
)


class Curves:
    """What metrics.jsonl tells of a run, ready to be drawn.

    Steps that were run again after an interruption count once, as they went the last time. A last line that was cut
    off while it was written is passed over.

    Args:
        metrics_jsonl: one JSON object a line: event ("train", "eval", "resume"; others are passed over), step, and any
            of epoch, loss, accuracy (0..1), lr, images_per_second.
        training: what the training's curve is called.

    Raises:
        UserError: the file cannot be read or has nothing to draw.
    """

    def __init__(self, metrics_jsonl: Path, training: str = "training"):
        self.labels = {"train": training, "eval": "validation"}
        series = read_series(metrics_jsonl)
        if not series["train"] and not series["eval"]:
            raise UserError(f"{metrics_jsonl} has no training or evaluation events, so there are no curves to draw")
        evaluations = series["eval"].items()
        # An evaluation stands at the end of an epoch, and so tells how many steps one has.
        self.steps_an_epoch = next((step / event["epoch"] for step, event in evaluations if event.get("epoch")), None)
        self.axis = "epoch" if self.steps_an_epoch else "step"
        self.points = {
            "train": _without_stumps(sorted(series["train"].items())),
            "eval": sorted(series["eval"].items()),
        }
        self.resumed = [self._place(step) for step in sorted(series["resume"])]

    def line(self, event: str, key: str, factor: float) -> tuple[list[float], list[float]]:
        """Places and values of the points that have the key."""
        points = [(step, values[key]) for step, values in self.points[event] if key in values]
        return [self._place(step) for step, _ in points], [factor * value for _, value in points]

    def _place(self, step: int) -> float:
        return step / self.steps_an_epoch if self.steps_an_epoch else step


def curves_of(run: Path, config: Mapping) -> Curves:
    """Of a run's folder and configuration: against its own targets a loss is another one than the validation's."""
    mixed = bool(config.get("mixup") or config.get("cutmix"))
    of = ["smoothed labels"] * bool(config.get("label_smoothing")) + ["mixed images"] * mixed
    return Curves(run / "metrics.jsonl", f"training ({', '.join(of)})" if of else "training")


def plot_curves(curves: Curves, output: Path):
    """Write one picture with all panels; an older one of that name is replaced."""
    from matplotlib.figure import Figure

    # Not pyplot: its global state and windows have no place in a library.
    figure = Figure(figsize=(9, 6.3), layout="constrained")
    for axes, panel in zip(figure.subplots(2, 2, sharex=True).flat, PANELS):
        _draw(axes, curves, panel)
    lines = figure.axes[0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside lower center", ncols=len(lines[0]), fontsize=8, frameon=False)
    write_atomically(output, to_png(figure, 130))


def draw_panels(curves: Curves) -> Iterable[tuple[str, bytes]]:
    """Title and PNG of every panel, each for itself, to be read on a narrow screen too."""
    from matplotlib.figure import Figure

    for panel in PANELS:
        figure = Figure(figsize=(4.6, 3.1), layout="constrained")
        axes = figure.subplots()
        _draw(axes, curves, panel)
        axes.legend(fontsize=8)
        yield panel[1], to_png(figure, 160)


def _draw(axes, curves: Curves, panel: tuple[str, str, float]):
    from matplotlib.ticker import MaxNLocator

    key, title, factor = panel
    for event, style in _STYLES.items():
        places, values = curves.line(event, key, factor)
        if places:
            of_targets = key in ("loss", "accuracy")  # what labels and mixing change
            axes.plot(places, values, label=curves.labels[event] if of_targets else "training", **style)
    for i, place in enumerate(curves.resumed):
        axes.axvline(place, label="resumed" if i == 0 else None, color="#666666", linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=8, labelbottom=True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
    axes.set_xlabel(curves.axis, fontsize=8)
    if key == "images_per_second" and axes.lines:
        axes.set_ylim(0, 1.1 * max(axes.lines[0].get_ydata()))


def _without_stumps(points: list[tuple[int, dict]]) -> list[tuple[int, dict]]:
    """Reports at the end of an epoch or of a stretch that few steps stand behind are joined with the one before.

    A mean over two steps is mostly noise, and would be drawn as a spike at every epoch's end.
    """
    spans = [step - before for (step, _), (before, _) in zip(points, [(0, {}), *points])]
    usual = statistics.median(spans) if spans else 0
    joined = []  # step, its event, how many steps it tells of
    for (step, event), span in zip(points, spans):
        if joined and span < 0.75 * usual:
            _, before, more = joined.pop()
            joined.append((step, _mean(before, more, event, span), more + span))
        else:
            joined.append((step, event, span))
    return [(step, event) for step, event, _ in joined]


def _mean(before: dict, more: int, event: dict, span: int) -> dict:
    """Of two reports, by the steps that each tells of; a rate (of images) by the time that they took."""
    mean = dict(event)
    for key in ("loss", "accuracy"):
        if key in before and key in event:
            mean[key] = (more * before[key] + span * event[key]) / (more + span)
    if before.get("images_per_second") and event.get("images_per_second"):
        slowness = more / before["images_per_second"] + span / event["images_per_second"]
        mean["images_per_second"] = (more + span) / slowness
    return mean


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def read_series(metrics_jsonl: Path) -> dict[str, dict[int, dict]]:
    """Events by step: {"train" | "eval" | "resume": {step: event}}; that of a resume is the last one before it."""
    try:
        with open_regular(metrics_jsonl) as file:
            lines = file.read().splitlines(keepends=True)
    except OSError as error:
        raise UserError(f"cannot read {metrics_jsonl} ({error.strerror}): give the metrics.jsonl of a run") from None
    series = {event: {} for event in (*_STYLES, "resume")}
    last = 0
    for number, line in enumerate(lines, 1):
        if number == len(lines) and not line.endswith(b"\n"):
            break
        try:
            entry = parse_json(line)
            event = check_type(entry["event"], str, "event")
            if event == "resume":
                series["resume"][last] = entry
            elif event in series:
                last = check_type(entry["step"], int, "step")
                check_type(entry.get("epoch", 1), int, "epoch")
                if not all(_is_number(entry[key]) for key, _, _ in PANELS if key in entry):
                    raise ValueError("not numbers")
                series[event][last] = entry
        except (ValueError, KeyError):
            raise UserError(
                f"line {number} of {metrics_jsonl} is not an event of a training run: give the metrics.jsonl of a run"
            ) from None
    return series
