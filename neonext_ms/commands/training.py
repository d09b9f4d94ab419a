"""Commands of training runs."""

from pathlib import Path
from typing import Literal

from neonext_ms.errors import UserError
from neonext_ms.terminal import say


def train_command(config):
    """Train a model, evaluate it and write a run folder: configuration, metrics, curves, checkpoints, summary."""
    from neonext_ms.analysis.plots import curves_of, plot_curves
    from neonext_ms.training.trainer import train

    summary = train(config)
    if summary["run"]:
        run = Path(summary["run"])
        plot_curves(curves_of(run, vars(config)), run / "curves.png")
    return summary


def ablate_command(
    config,
    seeds: int = 5,
    study: str | None = None,
    only: list[str] | None = None,
    result: str | None = None,
    readme: str | None = None,
):
    """Train with NeoInit and with random normal initialisation over several seeds (paper, Table 3), and compare them.

    Or compare the variants of a study. Started again with the same output_dir, it goes on. The defaults are the paper's
    settings, for the digits and the smallest model. The folder gets study.json, of which table and picture are made.

    Args:
        seeds: how many, from --seed on.
        study: YAML file with variants to compare instead, and the configuration that they have in common.
        only: names of variants (neo, normal; a study's) to train now; processes that share a folder must not share one.
        result: study.json of an earlier study; nothing is trained, its table and its picture beside it are made again.
        readme: Markdown file whose text between the marks named as the study's JSON file is replaced by the table.
    """
    from neonext_ms.analysis.ablation import ablation
    from neonext_ms.analysis.study import run_study
    from neonext_ms.analysis.study_file import make_study
    from neonext_ms.analysis.study_plots import plot_study
    from neonext_ms.analysis.study_report import read_result, study_table
    from neonext_ms.benchmark.machine import describe_machine, machine_line
    from neonext_ms.files import write_atomically
    from neonext_ms.markdown import replace_between_marks
    from neonext_ms.texts import to_json

    if result:
        if study or only:
            raise UserError(f"--{'study' if study else 'only'} trains, and --result does not: leave out one of them")
        path = Path(result)
        found = read_result(path)
    else:
        found = run_study(make_study(Path(study), config) if study else ablation(config), seeds, only or ())
        path = Path(found["folder"]) / "study.json"
        found |= {"folder": path.parent.name, "machine": machine_line(describe_machine())}
        write_atomically(path, to_json(found, indent=1))
    text = f"{study_table(found)}\n\n{found['machine']}"
    picture = path.with_suffix(".png")
    plot_study(found, picture)
    print(text)
    if readme:
        replace_between_marks(Path(readme), path.stem, text)
    say(f"picture: {picture}")
    return found


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
