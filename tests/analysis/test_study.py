"""A study: its file, runs that are made once, and the table and picture that are made of its result."""

import json
import math
from itertools import product

import pytest
import yaml
from matplotlib.figure import Figure
from PIL import Image

from neonext_ms.analysis.study import run_study
from neonext_ms.analysis.study_file import make_study, read_study
from neonext_ms.analysis.study_plots import plot_study
from neonext_ms.analysis.study_report import read_result, study_table
from neonext_ms.cli import main
from neonext_ms.commands.parser import parse
from neonext_ms.errors import UserError
from neonext_ms.models.registry import model_spec
from neonext_ms.training.config import TrainConfig
from tests.support.paths import ROOT

STUDY = """
config:
  epochs: 3
  batch_size: 256
  eval_batch_size: 180
  lr: 0.002
  random_crop: none
variants:
  paper: {}
  wide: {label: a wide one, structure: {dims: [64, 64, 64, 64]}, lr: 0.004}
  no_shift: {shifts: [0, 0, 0, 0]}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def begun(file, *options):
    """The study as the command line `ablate --study` gives it, in a folder of its own."""
    folder = file.parent / "runs"
    function, keywords = parse(["ablate", "--study", str(file), "--output_dir", str(folder), *options])
    assert function.__name__ == "ablate_command"
    return make_study(file, keywords["config"])


def finish(study, name, seed, accuracy, loss=0.5, **other):
    """Write the file of a run as if it had been made before."""
    study.folder.mkdir(exist_ok=True)
    curve = [{"epoch": 3, "loss": loss, "accuracy": accuracy}]
    run = {"variant": name, "seed": seed, "run": f"{name}-{seed}", "diverged": None, "seconds": 90.0, "curve": curve}
    run |= {"cpu_seconds": 60.0, "settings": study.settings(name), "parameters": 935_402, "macs": 3_178_112, **other}
    study.file(name, seed).write_text(json.dumps(run))


def test_a_variant_has_its_own_keys_and_the_command_line_counts_for_all(file):
    study = begun(file, "--epochs", "5")
    assert (study.config.epochs, study.config.batch_size, study.config.optimizer) == (5, 256, "sgd"), "of the recipe"
    assert study.variants["paper"] == study.config
    assert study.variants["wide"].structure == {"dims": [64, 64, 64, 64]} and study.variants["wide"].lr == 0.004
    assert study.variants["no_shift"].shifts == (0, 0, 0, 0)
    assert all(config.epochs == 5 for config in study.variants.values())
    assert study.labels == {"paper": "paper", "wide": "a wide one", "no_shift": "no_shift"}
    assert study.settings("no_shift") == {"shifts": [0, 0, 0, 0]} and study.settings("paper") == {}


@pytest.mark.parametrize(
    "text, words",
    [
        ("variants: {}", "is no study: expected the keys config and variants"),
        ("config: 3\nvariants: {}", "config must have keys of its own, got 3"),
        ("config: {}\nvariants: {a/b: {}}", "a variant's name is part of file names"),
        ("config: {}\nvariants: {a: 4}", "variant a must be keys of neonext train, or {}, got 4"),
        ("config: {}\nvariants: {a: {seed: 4}}", "variant a cannot have the key 'seed'"),
    ],
)
def test_a_file_that_is_no_study(tmp_path, text, words):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(UserError, match=words):
        read_study(tmp_path / "s.yaml")


def test_mistakes_in_values_are_named(file):
    file.write_text(STUDY.replace("lr: 0.004", "lr: fast"))
    with pytest.raises(UserError, match="study.yaml: variant wide: .*lr") as error:
        begun(file)
    assert "\n" not in str(error.value)
    file.write_text(STUDY.replace("epochs: 3", "epoch: 3"))
    with pytest.raises(UserError, match="study.yaml: unknown key 'epoch': did you mean epochs"):
        begun(file)


def test_runs_that_are_done_are_kept_and_those_of_others_are_counted(file):
    study = begun(file)
    for name, accuracies in {"paper": (0.5, 0.75), "wide": (0.9, 0.8)}.items():
        for seed, accuracy in enumerate(accuracies):
            finish(study, name, seed, accuracy)
    before = {path: path.read_bytes() for path in study.folder.iterdir()}
    result = run_study(study, seeds=2, only=["wide"])
    assert {path: path.read_bytes() for path in before} == before
    assert [(run["variant"], run["seed"]) for run in result["runs"]] == [
        *(("paper", 0), ("wide", 0)),
        *(("paper", 1), ("wide", 1)),
    ]
    paper, wide = result["table"]
    assert paper["accuracy"] == {"mean": 0.625, "spread": pytest.approx(math.sqrt(2) * 0.125)}
    assert (wide["variant"], wide["label"], wide["runs"], wide["diverged"]) == ("wide", "a wide one", 2, 0)
    with pytest.raises(UserError, match="no variant 'small': it has paper, wide, no_shift"):
        run_study(study, seeds=2, only=["small"])


def test_a_variant_that_was_another_is_refused(file):
    study = begun(file)
    finish(study, "wide", 0, 0.9)
    file.write_text(STUDY.replace("0.004", "0.005"))
    with pytest.raises(UserError, match=r"wide-0.json is of a run with .*'lr': 0.004.*: give the variant another name"):
        run_study(begun(file), seeds=1, only=["wide"])


@pytest.mark.slow
def test_a_run_is_made_and_says_what_it_costs(file):
    study = begun(file, "--epochs", "1", "--in_chans", "1")
    result = run_study(study, seeds=1, only=["no_shift"])
    (run,) = result["runs"]
    assert run == json.loads(study.file("no_shift", 0).read_text())
    summary = json.loads((study.folder / "no_shift-0" / "summary.json").read_text())
    assert run["parameters"] == summary["parameters"] == 934_378, "that of grey images"
    assert run["settings"] == {"shifts": [0, 0, 0, 0]}
    assert run["cpu_seconds"] > 0 and run["diverged"] is None
    assert run["curve"][-1]["accuracy"] == summary["final"]["accuracy"]


RESULT = {
    "folder": "runs",
    "machine": "A machine.",
    "runs": [
        {
            "variant": name,
            "seed": seed,
            "run": f"{name}-{seed}",
            "diverged": diverged,
            "seconds": 1.0,
            "cpu_seconds": cpu,
            "parameters": 935_402,
            "macs": 3_178_112,
            "curve": [{"epoch": 3, "loss": 0.5, "accuracy": accuracy}],
        }
        for name, seed, accuracy, cpu, diverged in [
            ("paper", 0, 0.5, 60.0, None),
            ("paper", 1, 0.75, None, None),
            ("wide", 0, 0.1, 120.0, "its last validation loss is not below that of guessing"),
        ]
    ],
    "table": [
        {
            "variant": "paper",
            "label": "the paper's",
            "runs": 2,
            "diverged": 0,
            "accuracy": {"mean": 0.625, "spread": 0.125},
            "loss": {"mean": 0.5, "spread": 0.0},
        },
        {"variant": "wide", "label": "wide", "runs": 1, "diverged": 1, "accuracy": None, "loss": None},
    ],
}


def test_the_table_by_hand():
    lines = study_table(RESULT).splitlines()
    assert len(set(map(len, lines))) == 1 and len(lines) == 4
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[2] == ["the paper's", "2", "0", "62.50 ± 12.50", "0.5000 ± 0.0000", "935", "3.18", "1.0"]
    assert cells[3] == ["wide", "1", "1", "-", "-", "935", "3.18", "2.0"]


def test_the_picture_shows_runs_mean_and_the_first_variants_band(tmp_path, monkeypatch):
    drawn = []

    def spy(figure, *args, **kwargs):
        drawn.extend(figure.axes)
        return savefig(figure, *args, **kwargs)

    savefig = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", spy)
    plot_study(RESULT, tmp_path / "s.png")
    (axes,) = drawn
    assert [text.get_text() for text in axes.get_yticklabels()] == ["the paper's", "wide, 1 diverged"]
    assert axes.yaxis_inverted(), "in the order of the table"
    points = [line for line in axes.lines if line.get_marker() == "."]
    assert [list(line.get_xdata()) for line in points] == [[50, 75], []], "a run that diverged is none"
    assert [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "D"] == [[62.5]]
    with Image.open(tmp_path / "s.png") as image:
        assert image.width > 700


def test_curves_are_drawn_of_no_more_variants_than_there_are_colours(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: drawn.append(len(figure.axes)))
    curve = [{"epoch": 1, "loss": 1.0, "accuracy": 0.25}, *RESULT["runs"][0]["curve"]]
    for count in (7, 8):
        names = [f"v{i}" for i in range(count)]
        runs = [{**RESULT["runs"][0], "variant": name, "curve": curve} for name in names]
        table = [{**RESULT["table"][0], "variant": name, "label": name} for name in names]
        plot_study({**RESULT, "runs": runs, "table": table}, tmp_path / "s.png")
    assert drawn == [2, 1], "accuracy and loss, or one line for each"


def test_table_and_picture_are_made_again_from_the_result(tmp_path, capsys):
    path, readme = tmp_path / "first.json", tmp_path / "README.md"
    path.write_text(json.dumps(RESULT))
    readme.write_text("above\n<!-- first: begin -->\nold\n<!-- first: end -->\nbelow\n")
    with pytest.raises(SystemExit) as ended:
        main(["ablate", "--result", str(path), "--readme", str(readme)])
    assert ended.value.code == 0 and study_table(RESULT) in capsys.readouterr().out
    text = f"<!-- first: begin -->\n{study_table(RESULT)}\n\nA machine.\n<!-- first: end -->"
    assert readme.read_text() == f"above\n{text}\nbelow\n"
    assert (tmp_path / "first.png").read_bytes()[:4] == b"\x89PNG" and path.read_text() == json.dumps(RESULT)


@pytest.mark.parametrize("damage", ["machine", "table", "runs"])
def test_a_result_that_is_none_is_named(tmp_path, damage):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({**RESULT, damage: [] if damage == "runs" else None}))
    with pytest.raises(UserError, match="x.json is not the result of a study"):
        read_result(path)


@pytest.mark.parametrize(
    "option, words",
    [
        (("--only", "wide", "nope"), "the study has no variant 'nope': it has paper, wide, no_shift"),
        (("--seeds", "0"), "seeds must be at least 1, got 0"),
    ],
)
def test_options_of_a_study_reach_it(file, capsys, option, words):
    study = begun(file)
    for name, seed in product(study.variants, range(5)):  # there is nothing left to train
        finish(study, name, seed, 0.5)
    with pytest.raises(SystemExit) as ended:
        main(["ablate", "--study", str(file), "--output_dir", str(study.folder), *option])
    assert ended.value.code == 2 and words in capsys.readouterr().err


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("study_*.yaml")), ids=lambda file: file.stem)
def test_the_projects_own_studies(file):
    study = make_study(file, TrainConfig.from_text(yaml.safe_dump(read_study(file)[0])))
    assert len(set(study.labels.values())) == len(study.variants) > 1
    for config in study.variants.values():
        assert len(model_spec(config.model, **config.model_overrides).depths) == 4


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("study_*.json")), ids=lambda file: file.stem)
def test_the_tables_of_the_projects_studies_are_those_of_their_results(file):
    result, study = read_result(file), make_study(file.with_suffix(".yaml"), TrainConfig())
    _, begin, rest = (ROOT / "configs" / "README.md").read_text().partition(f"<!-- {file.stem}: begin -->\n")
    assert begin and rest.startswith(f"{study_table(result)}\n\n{result['machine']}\n<!-- {file.stem}: end -->")
    assert {row["variant"]: row["label"] for row in result["table"]}.items() <= study.labels.items()


@pytest.mark.parametrize("option", ["study", "only"])
def test_nothing_is_trained_beside_a_result(file, capsys, option):
    with pytest.raises(SystemExit) as ended:
        main(["ablate", "--result", str(file), f"--{option}", str(file)])
    assert ended.value.code == 2 and f"--{option} trains, and --result does not" in capsys.readouterr().err
