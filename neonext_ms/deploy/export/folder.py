"""A trained model as a folder for others: weights, card, and a page that people read. See `checkpoint.folder`."""

import hashlib
import json
from pathlib import Path

import yaml

from neonext_ms.checkpoint.card import ModelCard
from neonext_ms.checkpoint.folder import CONFIG, FORMAT, README, WEIGHTS, read_folder
from neonext_ms.checkpoint.network import build_with, load_trained
from neonext_ms.checkpoint.safetensors_file import safetensors_bytes
from neonext_ms.checkpoint.store import Checkpoint, versions
from neonext_ms.data.channels import RGB
from neonext_ms.deploy.export.output import check_output, name_folder, workplace
from neonext_ms.texts import read_yaml, to_json

PRIVATE = ("output_dir", "data_dir", "pretrained", "resume", "teacher")  # keys that say where files lie
NAMES = 20  # classes that the page lists

_PAGE = """---
{metadata}---

# {title}

{summary}

## Use

```bash
neonext infer --model <this folder> photo.jpg
```

```python
from neonext_ms import create_model
from neonext_ms.deploy import Classifier, load_features

Classifier.open("<this folder>").predict(["photo.jpg"], top_k=5)
network = create_model("{name}", pretrained="<this folder>", num_classes=7)  # to fine-tune, with a new classifier
backbone = load_features("<this folder>")  # outputs of all stages
```

Nothing in this folder is run when it is loaded.

## Model

{architecture}

## Preprocessing

{preprocess}

## Classes

{classes}

## Training

{training}

## Results

{results}

## Files

{files}
"""


def write_folder(checkpoint: str | Path, output: str | Path) -> dict:
    """Write a checkpoint's model as a folder, which must not exist; it appears whole or not at all.

    The data set's place on this machine is left out. The page has the recipe if the checkpoint lies in its run.

    Returns:
        what config.json holds.

    Raises:
        UserError: a checkpoint that cannot be used, or an output that cannot be written.
    """
    trained, output = load_trained(checkpoint), Path(output).expanduser()
    check_output(output, folder=True)
    build_with(trained)  # the weights are those of the network
    about = trained.card.to_dict()
    if about["dataset"]:
        about["dataset"]["data_dir"] = None
    data = safetensors_bytes(trained.weights, about)
    config = {
        "library_name": "neonext_ms",
        "format": FORMAT,
        "architecture": trained.card.model.name,
        **about,
        "file": {"name": WEIGHTS, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()},
        "parameters": sum(value.size for value in trained.weights.values()),
        **{key: trained.manifest[key] for key in ("epoch", "metrics", "origin") if key in trained.manifest},
        "versions": trained.manifest.get("versions", versions()),
    }
    with workplace(output) as place:
        folder = place / "folder"
        folder.mkdir()
        (folder / WEIGHTS).write_bytes(data)
        (folder / CONFIG).write_text(to_json(config, indent=1), encoding="utf-8")
        (folder / README).write_text(_page(trained, config, output.name), encoding="utf-8")
        read_folder(folder)
        name_folder(folder, output)
    return config


def _page(trained: Checkpoint, config: dict, name: str) -> str:
    card, model = trained.card, trained.card.model
    metrics = config.get("metrics") or {}
    dataset = card.dataset.name if card.dataset else "a data set that the checkpoint does not name"
    spec = {**vars(card.spec()), "num_classes": model.num_classes, "parameters": config["parameters"]}
    return _PAGE.format(
        metadata=yaml.safe_dump(_metadata(card, metrics, name), sort_keys=False, allow_unicode=True),
        title=_code(name),
        name=model.name,
        summary=f"{model.name} (NeoNeXt: patch-wise matrix multiplication in the place of convolution), trained on "
        f"{dataset} to tell {model.num_classes} classes apart; for the package neonext_ms, in MindSpore.",
        architecture=_table(spec),
        preprocess="The short side is resized to image_size / crop_pct, the centre is cut out, and each channel of "
        f"{_colours(card)} in 0..1 becomes (value - mean) / std.\n\n{_table(card.preprocess.to_dict())}",
        classes=_classes(card),
        training=_training(trained, dataset),
        results=_table(metrics) if metrics else "The checkpoint does not state any.",
        files=_table({WEIGHTS: f"{config['file']['bytes']} bytes, SHA-256 {config['file']['sha256']}"})
        + "\n\nWritten by "
        + ", ".join(f"{key} {value}" for key, value in config["versions"].items())
        + ".",
    )


def _metadata(card: ModelCard, metrics: dict, name: str) -> dict:
    """What Hugging Face Hub reads at the top of the page."""
    values = {
        "library_name": "neonext_ms",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "neonext", "mindspore", card.model.name],
    }
    if "accuracy" in metrics and card.dataset:
        result = {
            "task": {"type": "image-classification"},
            "dataset": {"name": card.dataset.name, "type": card.dataset.name, "split": "validation"},
            "metrics": [{"type": "accuracy", "value": metrics["accuracy"]}],
        }
        values |= {"metrics": ["accuracy"], "model-index": [{"name": name, "results": [result]}]}
    return values


def _colours(card: ModelCard) -> str:
    return {1: "grey", RGB: "RGB"}.get(card.preprocess.channels, "the image")


def _classes(card: ModelCard) -> str:
    names = [f"{i}. {_code(name)}" for i, name in enumerate(card.class_names[:NAMES])]
    more = len(card.class_names) - len(names)
    return "\n".join(names) + (f"\n\nand {more} more, in `{CONFIG}`." if more else "")


def _training(trained: Checkpoint, dataset: str) -> str:
    said = f"On {dataset}" + (f", {trained.manifest['epoch']} epochs." if "epoch" in trained.manifest else ".")
    recipe = trained.path.parent.parent / "config.yaml"
    if trained.path.parent.name != "checkpoints" or not recipe.is_file():
        return said
    _, values = read_yaml(recipe)
    kept = {key: value for key, value in values.items() if key not in PRIVATE and value is not None}
    return f"{said} The recipe, for `neonext train --config`:\n\n```yaml\n{yaml.safe_dump(kept, sort_keys=False)}```"


def _table(values: dict) -> str:
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    rows = [f"| {_code(key)} | {_code(text)} |" for key, text in texts.items()]
    return "\n".join(["| | |", "|---|---|", *rows])


def _code(text: str) -> str:
    """As it is, whatever it is: names may hold what Markdown takes for its own."""
    plain = "".join(character if character.isprintable() else "�" for character in text)
    return f"`` {plain} ``" if "`" in plain else f"`{plain}`".replace("|", "\\|")
