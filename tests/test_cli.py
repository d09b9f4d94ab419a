"""The command line: results, exit codes, and one line for each mistake."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import fields

import pytest

from neonext_ms.cli import COMMANDS
from neonext_ms.commands.parser import GROUPS, MOST_USED
from neonext_ms.training.config import TrainConfig
from tests.support.cli import run
from tests.support.paths import ROOT


def test_profile_sets_ours_beside_the_papers(capsys):
    code, out, _ = run(capsys, "profile", "--models", "neonext_t", "--image_size", "224")
    assert code == 0
    assert "27.683" in out and "4.378" in out and "4.40" in out


def test_json_is_all_there_is_on_stdout(capsys):
    code, out, err = run(capsys, "profile", "--json")
    rows = json.loads(out)
    assert code == 0 and "GMACs" in err
    assert {row["model"] for row in rows} >= {"neonext_t", "neonext_xl_v2", "neonext_b_v3", "neonext_pico"}


def test_env_names_the_backend(capsys):
    code, out, _ = run(capsys, "env")
    assert code == 0 and "mindspore" in out and "NeoCell backend" in out


ALL = {name: name.split() for name in COMMANDS if name != "benchmark"}
ALL |= {f"benchmark {subject}": ["benchmark", subject] for subject in COMMANDS["benchmark"]}


@pytest.mark.parametrize("command", ALL)
def test_every_command_explains_every_option(capsys, command):
    code, out, _ = run(capsys, *ALL[command], "--help")
    function = COMMANDS
    for word in ALL[command]:
        function = function[word]
    assert code == 0 and " ".join(function.__doc__.split()[:4]) in " ".join(out.split())
    assert "--json" in out and "--debug" in out
    assert max(map(len, out.splitlines())) <= 80


def test_options_are_explained_by_their_docstrings(capsys):
    assert "peak learning rate" in run(capsys, "train", "--help")[1]
    assert "which every use of the file must then have" in " ".join(run(capsys, "export", "--help")[1].split())


MISTAKES = {
    "no such command": (["trian"], ["has no command 'trian'", "did you mean train?"]),
    "dashes": (["train", "--batch-size", "3"], ["has no option --batch-size: did you mean --batch_size?"]),
    "dashes and a value": (["train", "--data-dir=x"], ["--data-dir: did you mean --data_dir?"]),
    "an option of another command": (
        ["validate", "--top_k", "3"],
        ["no option --top_k: its options are "],
    ),
    "capitals": (["train", "--LR", "3"], ["--LR: did you mean --lr?"]),
    "part of an option": (["train", "--epoch", "3"], ["--epoch: did you mean --epochs?"]),
    "one number for two": (["train", "--scale", "0.5"], ["--scale: expected 2 values with a space between, got [0.5]"]),
    "words for numbers": (["convert", "--input", "a", "--output", "b", "--shifts", "1", "x"], ["--shifts: expected "]),
    "one choice less": (["plot", "augment", "--output", "a.png"], ["unrecognized arguments: augment", "plot --help"]),
    "unknown model": (["train", "--model", "neonext_q"], ["neonext_q", "neonext_t"]),
    "unknown option": (["train", "--learning_rate", "1"], ["--learning_rate", "train --help"]),
    "wrong type": (["train", "--epochs", "ten"], ["--epochs: expected int, got ten;"]),
    "wrong choice": (["train", "--optimizer", "lamb"], ["--optimizer: expected one of ", "'adamw'", ", got lamb;"]),
    "neither a number nor null": (["profile", "--image_size", "x"], ["--image_size: expected int or null, got x;"]),
    "no config file": (["train", "--config", "mytrain.yaml"], ["mytrain.yaml"]),
    "missing data folder": (["train", "--dataset", "folder", "--data_dir", "none"], ["none", "not a folder"]),
    "no data folder": (["train", "--dataset", "cifar10"], ["cifar10", "data_dir"]),
    "image too small": (["train", "--image_size", "28"], ["28 x 28", "stage 4", "at least 32"]),
    "image not divisible": (["train", "--image_size", "50"], ["50 x 50", "stem", "multiples of 4"]),
    "batch larger than the data": (["train", "--batch_size", "2000"], ["2000", "1437"]),
    "zero batch": (["train", "--batch_size", "0"], ["batch_size", "at least 1"]),
    "negative workers": (["train", "--num_workers", "-1"], ["num_workers", "-1"]),
    "odd batch with mixup": (["train", "--batch_size", "31", "--mixup", "0.8"], ["even", "31"]),
    "no NPU": (["train", "--device", "Ascend"], ["Ascend", "CPU"]),
    "no seeds": (["ablate", "--seeds", "0"], ["seeds", "at least 1", "0"]),
    "report of nothing": (["report", "none"], ["none", "not the folder of a training run"]),
    "no checkpoint": (["validate", "--model", "none.ckpt"], ["none.ckpt"]),
    "model left out": (["validate"], ["--model", "required"]),
    "no exported model": (["infer", "--model", "none.mindir", __file__], ["none.mindir"]),
    "no image": (["infer", "--model", "none.mindir", "none.png"], ["none.png"]),
    "neither images nor count": (["infer", "--model", "none.mindir"], ["--count"]),
    "export of nothing": (["export", "--checkpoint", "none.ckpt", "--output", "a.mindir"], ["none.ckpt"]),
    "export to another format": (["export", "--checkpoint", "none.ckpt", "--output", "a.pb"], [".mindir", "a.pb"]),
    "key without encryption": (
        ["export", "--checkpoint", "none.ckpt", "--output", "a.mindir", "--key_file", "k"],
        ["--key_file k", "--encrypt true"],
    ),
    "unknown model in profile": (["profile", "--models", "neonext_q", "neonext_t"], ["neonext_q"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, mistake):
    monkeypatch.chdir(tmp_path)
    arguments, words = MISTAKES[mistake]
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert err.startswith("neonext: error: ") and err.count("\n") == 1, err
    assert all(word in err for word in words), err
    assert out == "" and list(tmp_path.iterdir()) == [], "nothing was begun"


def test_a_call_from_python_leaves_the_signals_of_its_process_alone(capsys):
    """Blocked, SIGINT would be so in all that this process starts afterwards."""
    run(capsys, "train", "--epochs", "0")
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_unknown_and_mistyped_keys_of_a_config_file(capsys, tmp_path):
    config = tmp_path / "c.yaml"
    cases = {
        "epochz: 3\n": [f"{config}: unknown key 'epochz': did you mean epochs?"],
        "epochs: three\n": ["epochs", "three"],
        "[1\n": ["config", "line 1"],
    }
    cases["epochs: null\n"] = ["epochs", "null", "20"]
    for text, words in cases.items():
        config.write_text(text)
        code, _, err = run(capsys, "train", "--config", str(config))
        assert code == 2 and err.count("\n") == 1
        assert all(word in err for word in words), err


def test_an_option_counts_before_the_file_wherever_it_stands(capsys, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("epochs: 7\nseed: 3\n")
    for arguments in (["--epochs", "0", "--config", str(config)], [f"--config={config}", "--epochs", "0"]):
        code, _, err = run(capsys, "train", *arguments)
        assert code == 2 and err == "neonext: error: epochs must be at least 1, got 0\n"


def test_values_of_a_list_stand_side_by_side(capsys):
    models = ["neonext_t", "neonext_pico"]
    for arguments in (["--models", *models], ["--models", f"[{', '.join(models)}]"], [f"--models=[{models[0]}]"]):
        code, out, _ = run(capsys, "profile", "--json", *arguments, "--image_size", "224")
        given = 1 if "=" in arguments[0] else 2
        assert code == 0 and [row["model"] for row in json.loads(out)] == models[:given]


def test_a_list_takes_any_name_of_a_file(capsys):
    name = "run: 1, [new] #2 'x' \"y\".pb"
    code, _, err = run(capsys, "benchmark", "artefact", "--models", name, "x.pb", "--batch_sizes", "1", "8")
    assert code == 2 and err.startswith(f"neonext: error: cannot measure {name}: expected one of .ckpt")


def test_help_of_train_begins_with_what_is_used_most(capsys):
    lines = run(capsys, "train", "--help")[1].splitlines()
    options = [line.split()[0] for line in lines if line.startswith("  --")]
    assert options[:10] == [f"--{name}" for name in MOST_USED] and len(MOST_USED) == 10
    assert set(options) == {f"--{field.name}" for field in fields(TrainConfig)} | {
        *("--config", "--print_config", "--json", "--debug")
    }, "each once"
    groups = [line for line in lines if line.endswith(":") and not line.startswith((" ", "usage"))]
    assert groups[0] == "most used options of a training run:" and len(groups) == 2 + len(GROUPS)


@pytest.mark.parametrize("command", ["ablate", "plot"])
def test_help_of_commands_that_take_a_training_runs_options_is_short(capsys, command):
    out = run(capsys, command, "--help")[1]
    assert "--output_dir" in out and "neonext train --help explains them" in " ".join(out.split())
    assert not [line for line in out.splitlines() if line.startswith("  --cutmix")]
    assert len(out.splitlines()) < 70


def test_folder_without_classes_or_with_an_empty_one(capsys, tmp_path):
    for split in ("train", "val"):
        (tmp_path / split / "cats").mkdir(parents=True)
    code, _, err = run(capsys, "train", "--dataset", "folder", "--data_dir", str(tmp_path))
    assert code == 2 and "cats" in err and err.count("\n") == 1


def test_the_module_runs_as_a_program(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "neonext_ms", "train", "--epochs", "0"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == "neonext: error: epochs must be at least 1, got 0\n"
    done = subprocess.run([sys.executable, "-m", "neonext_ms", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("neonext_ms ")


def piped(arguments, script, tmp_path):
    """Exit codes of the command and of what reads it, and what stands on stderr."""
    command = f"{sys.executable} -m neonext_ms {arguments} {script}; echo ${{PIPESTATUS[@]}}"
    env = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, env=env, timeout=600)
    return done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("arguments", ["--help", "profile", "train --help", "env"])
def test_a_reader_that_goes_early_is_no_error(arguments, tmp_path):
    """The pipe is full or closed before all is written; head has what it wants."""
    out, err = piped(arguments, "| (sleep 0.2; exec head -n 1 >/dev/null)", tmp_path)
    assert err == "" and out[-1] in ("0 0", "1 0")
    out, err = piped(arguments, "| exec true", tmp_path)
    assert err == "" and out[-1] in ("0 0", "1 0")


def test_a_run_whose_reader_has_gone_ends_quietly(tmp_path):
    out, err = piped("train --epochs 1 --output_dir run", "| exec true", tmp_path)
    assert err == "" and out == ["1 0"] and not (tmp_path / "run" / "summary.json").exists()


def test_closed_streams_are_no_error(tmp_path):
    assert piped("profile --models neonext_pico", ">&-", tmp_path) == (["0"], "")
    assert piped("train --epochs 0", ">&- 2>&-", tmp_path) == (["2"], "")
