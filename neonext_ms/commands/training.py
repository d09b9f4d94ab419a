"""Commands of training runs."""

from pathlib import Path
from typing import Literal

from neonext_ms.terminal import say


def train_command(config):
    """Train a model, evaluate it and write a run folder: configuration, metrics, curves, checkpoints, summary."""
    from neonext_ms.analysis.plots import Curves, plot_curves, training_label
    from neonext_ms.training.trainer import train

    summary = train(config)
    if summary["run"]:
        run = Path(summary["run"])
        label = training_label(config.label_smoothing, bool(config.mixup or config.cutmix))
        plot_curves(Curves(run / "metrics.jsonl", label), run / "curves.png")
    return summary


def ablate_command(config, seeds: int = 5):
    """Train with NeoInit and with random normal initialisation over several seeds (paper, Table 3), and compare them.

    Started again with the same output_dir, it goes on. The defaults are the paper's settings, for the digits and the
    smallest model.

    Args:
        seeds: how many, from --seed on.
    """
    from neonext_ms.analysis.ablation import ablate
    from neonext_ms.analysis.ablation_report import ablation_table, plot_ablation

    result = ablate(config, seeds)
    picture = Path(result["folder"]) / "ablation.png"
    plot_ablation(result, picture)
    print(ablation_table(result))
    say(f"curves: {picture}")
    return result


def report_command(
    run: str,
    output: str | None = None,
    data_dir: str | None = None,
    num_workers: int = 1,
    device: Literal["auto", "CPU", "Ascend"] = "auto",
):
    """Write a run as one HTML file: curves, summary, confusion matrix, most confident mistakes, configuration.

    Args:
        run: its folder.
        output: file to write, must not exist; report.html in the run folder if null.
        data_dir: where the run's data set is now, if it was moved.
        num_workers: processes that prepare batches; 0 prepares them in the loop.
        device: where to run the best checkpoint; auto takes an Ascend NPU if there is one.
    """
    from neonext_ms.analysis.run_report import write_report

    path = Path(output) if output else Path(run) / "report.html"
    result = write_report(Path(run), path, data_dir, num_workers, device)
    say(
        f"{path}: "
        + (f"without mistakes: {result['missing']}" if result["missing"] else f"{result['mistakes']} mistakes")
    )
    return result
