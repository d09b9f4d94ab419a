"""What each `neonext` command does: one thin function, whose docstring and types are the command's help and options."""

import sys
from pathlib import Path
from typing import Literal

from neonext_ms.errors import Incomplete, UserError


def train(config):
    """Train a model, evaluate it and write a run folder: configuration, metrics, curves, checkpoints, summary."""
    from neonext_ms.analysis.plots import plot_curves
    from neonext_ms.training.trainer import train

    summary = train(config)
    if summary["run"]:
        run = Path(summary["run"])
        plot_curves(run / "metrics.jsonl", run / "curves.png")
    return summary


def ablate(config, seeds: int = 5):
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
    print(f"curves: {picture}")
    return result


def report(
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
    print(
        f"{path}: "
        + (f"without mistakes: {result['missing']}" if result["missing"] else f"{result['mistakes']} mistakes")
    )
    return result


def validate(
    model: str,
    dataset: Literal["digits", "cifar10", "cifar100", "folder", "mindrecord"] | None = None,
    data_dir: str | None = None,
    batch_size: int = 100,
    num_workers: int = 1,
    key_file: str | None = None,
    device: Literal["auto", "CPU", "Ascend"] = "auto",
):
    """Evaluate a checkpoint or an exported file on a validation split, with the preprocessing that it carries.

    Args:
        model: .ckpt, .mindir or .onnx file.
        dataset: the model's own if null.
        data_dir: where the data set is; the model's own if dataset is null.
        batch_size: images a step on each device.
        num_workers: processes that prepare batches; 0 prepares them in the evaluation loop.
        key_file: of an encrypted MindIR; the environment variable NEONEXT_KEY if null.
        device: where to run; auto takes an Ascend NPU if there is one.
    """
    from neonext_ms.deploy.key import read_key
    from neonext_ms.deploy.validate import validate

    key = read_key(key_file) if key_file else None
    result = validate(Path(model), dataset, data_dir, batch_size, num_workers, device, key)
    top5 = f", top-5 {100 * result['top5_accuracy']:.2f} %" if "top5_accuracy" in result else ""
    print(f"accuracy {100 * result['accuracy']:.2f} %{top5}, loss {result['loss']:.4f} on {result['images']} images")
    return result


def profile(models: list[str] | None = None, image_size: int | None = None, num_classes: int = 1000):
    """Show parameters and multiply-accumulates of the models beside the paper's Table 1.

    Args:
        models: names, as in --models neonext_t neonext_s; all of them if left out.
        image_size: side of the image in pixels; 224 and 384 if null.
        num_classes: outputs of the classifier.
    """
    from neonext_ms.analysis.profile import profile_rows, profile_table
    from neonext_ms.models import list_models

    sizes = (224, 384) if image_size is None else (image_size,)
    rows = [row for size in sizes for row in profile_rows(models or list_models(), size, num_classes)]
    print(profile_table(rows))
    return rows


def export(
    checkpoint: str,
    output: str,
    batch_size: int | None = 1,
    image_size: int | None = None,
    fold: bool = True,
    gelu: Literal["exact", "tanh"] = "exact",
    weights: Literal["float32", "float16"] = "float32",
    encrypt: bool = False,
    key_file: str | None = None,
    device: Literal["auto", "CPU", "Ascend"] = "auto",
):
    """Write a checkpoint as MindIR or ONNX, verified in a new process on real images before it is kept, and its card.

    Args:
        checkpoint: .ckpt file of a run.
        output: .mindir or .onnx file to write; must not exist.
        batch_size: images in a batch, which every use of the file must then have; null for any number.
        image_size: side of the input in pixels; the checkpoint's own if null.
        fold: multiply the network's constants together first; false for the graph as it was trained (MindIR only).
        gelu: the error function as trained, or its tanh approximation.
        weights: float16 halves the file, and its arithmetic is half precision.
        encrypt: encrypt a MindIR with the key in key_file.
        key_file: with encrypt; 32, 48 or 64 hexadecimal digits; the environment variable NEONEXT_KEY if null.
        device: where to compare; auto takes an Ascend NPU if there is one.
    """
    from neonext_ms.deploy import export_model
    from neonext_ms.deploy.key import read_key
    from neonext_ms.training import distributed

    if key_file and not encrypt:
        raise UserError(
            f"--key_file {key_file} without --encrypt true would leave the file readable: give both or none"
        )
    key = read_key(key_file) if encrypt else None
    distributed.start(device)
    card = export_model(
        Path(checkpoint),
        Path(output),
        batch_size=batch_size,
        image_size=image_size,
        folded=fold,
        gelu=gelu,
        weights=weights,
        key=key,
    )
    proof = card["verification"]
    difference, limit = f"{proof['largest_difference']:.2g}", f"{proof['limit']:.2g}"
    print(
        f"{output}: {card['file']['bytes'] / 1e6:.2f} MB; largest difference from the checkpoint {difference} "
        f"(limit {limit}) on {proof['images']} images of {proof['source']}"
    )
    return card


def convert(
    input: str,
    output: str,
    model: str | None = None,
    image_size: int | None = None,
    shifts: list[int] | None = None,
    class_names: str | None = None,
    ema: bool = False,
    verify: str | None = None,
):
    """Turn the authors' PyTorch weights into a checkpoint, or weights of ours into PyTorch's; strict, with a report.

    Args:
        input: .pt, .pth, .safetensors or .npz with PyTorch's names or ours, or a .ckpt.
        output: file to write, which must not exist; .ckpt has our names, .pt and .pth have PyTorch's, .safetensors and
            .npz those that the input has not.
        model: name of the network that the weights must fit; told from their shapes if null.
        image_size: side of the images that the weights were trained on, in pixels; 224 if null.
        shifts: of the NeoCells in each stage, as in --shifts '[1,1,1,0]'; those of the released weights if null, which
            are 1,1,1,1 for an image_size of 384.
        class_names: text file with a class name a line; numbers if null.
        ema: take the moving average that a training checkpoint holds beside its weights.
        verify: clone of the authors' repository, to compare logits with its code; needs PyTorch and a C++ compiler.
    """
    from neonext_ms.deploy.convert import convert

    result = convert(
        Path(input),
        Path(output),
        model=model,
        image_size=image_size,
        shifts=shifts,
        class_names=class_names and Path(class_names),
        ema=ema,
        official=verify and Path(verify),
    )
    name, classes, overrides = result["model"].values()
    print(f"{output}: {name}, {classes} classes" + "".join(f", {key} {value}" for key, value in overrides.items()))
    print(
        f"{result['tensors']} tensors, {result['values']:,} values under the names of {result['names']}; "
        f"{len(result['left_out'])} batch counters have no place in our network; none missing, none unexpected"
    )
    if verify:
        proof = result["verification"]
        print(
            f"largest difference from the authors' logits {proof['largest_difference']:.2g} (limit "
            f"{proof['limit']:.2g}) on {proof['samples']} samples"
        )
    return result


def infer(
    model: str,
    images: list[str],
    top_k: int = 3,
    count: int = 0,
    dataset: Literal["digits", "cifar10", "cifar100", "folder", "mindrecord"] | None = None,
    data_dir: str | None = None,
    format: Literal["text", "jsonl", "csv"] = "text",
    output: str | None = None,
    batch_size: int | None = None,
    key_file: str | None = None,
    device: Literal["auto", "CPU", "Ascend"] = "auto",
):
    """Classify image files, or validation images of a data set, with a checkpoint or an exported model.

    A file that cannot be classified is reported in its place, the others are classified, and the exit code is 3.

    Args:
        model: .ckpt, .mindir or .onnx file.
        images: image files, folders, patterns, or - for a list of files on the standard input, one a line.
        top_k: classes to show for each image.
        count: validation images to classify, spread over the split, instead of files.
        dataset: to take them from; the model's own if null.
        data_dir: where that data set is; the model's own if dataset is null.
        format: one line an image for people, as a JSON object, or as CSV.
        output: file for these lines, which must not exist; the standard output if null.
        batch_size: images to run at once; the only number that the model takes, or 32, if null.
        key_file: of an encrypted MindIR; the environment variable NEONEXT_KEY if null.
        device: where to run; auto takes an Ascend NPU if there is one.
    """
    from neonext_ms.deploy import Classifier, image_paths
    from neonext_ms.deploy.key import read_key
    from neonext_ms.deploy.results import as_dict, formatted, write_lines
    from neonext_ms.training import distributed

    if bool(images) == bool(count):
        raise UserError("infer needs image files or folders, or --count for validation images: give one of them")
    paths = image_paths(images, sys.stdin)
    distributed.start(device)
    classifier = Classifier.open(model, read_key(key_file) if key_file else None, batch_size)
    if count:
        results = classifier.predict_validation(count, dataset, data_dir, top_k)
    else:
        results = classifier.predict_files(paths, top_k)
    rows = []
    lines = formatted((rows.append(as_dict(result)) or result for result in results), format, top_k)
    if output:
        write_lines(Path(output), lines)
    else:
        for line in lines:
            print(line)
    if failed := sum(row["error"] is not None for row in rows):
        raise Incomplete(f"{failed} of {len(rows)} images could not be classified", rows)
    return rows


def benchmark(
    what: str,
    against: list[str] | None = None,
    rounds: int = 15,
    batch_size: int = 16,
    model: str = "neonext_t",
    model_batch_size: int = 8,
    image_size: int = 224,
    output: str | None = None,
    readme: str | None = None,
    authors: str | None = None,
    workers: tuple[int, ...] = (1, 2),
    models: list[str] | None = None,
    batch_sizes: tuple[int, ...] = (1, 8),
):
    """Measure operator, block, network, training step, all four (compute), data loading, checkpoints or artefacts.

    Contenders take turns, and the medians of the rounds are reported. The data pipeline runs beside MindSpore's own
    C++ pipeline, on JPEGs that are made for it. Artefacts are a checkpoint, as it is and folded, and exported files.
    Of checkpoints, it is what the writing of one costs the steps beside it.

    Args:
        against: any of dense, patchwise, depthwise (MindSpore's 7 x 7), torch (PyTorch's, where it is installed).
        rounds: measurements of each contender; networks and their steps take a third of them.
        batch_size: images of the operator and the block.
        model: network to measure.
        model_batch_size: images of the network and its step, also beside checkpoints.
        image_size: side of these images in pixels.
        output: PNG file to draw.
        readme: Markdown file whose benchmark table is replaced, between its two benchmark marks.
        authors: clone of the authors' repository (HapKoM/neonext on GitHub), whose PyTorch code then runs as well.
        workers: of the data pipeline, numbers to try, as in --workers '[1, 2]'.
        models: artefacts, as in --models '[x.ckpt, x.mindir, x.onnx]'.
        batch_sizes: of the artefacts.
    """
    if what == "artefact":
        from neonext_ms.analysis.artefact_benchmark import artefact_table, benchmark_artefacts

        rows = benchmark_artefacts(models or (), batch_sizes, rounds, authors and Path(authors).expanduser())
        print(artefact_table(rows))
        return rows
    if what == "checkpoint":
        from neonext_ms.analysis.checkpoint_benchmark import benchmark_checkpoint, checkpoint_table

        result = benchmark_checkpoint(model, model_batch_size, image_size, rounds)
        print(checkpoint_table(result))
        return result
    if what == "data":
        from neonext_ms.analysis.data_benchmark import benchmark_data, data_table

        rows = benchmark_data(workers, rounds)
        print(data_table(rows))
        return rows
    from neonext_ms.analysis.benchmark import WHAT, benchmark
    from neonext_ms.analysis.benchmark_report import benchmark_table, plot_benchmark, update_readme

    result = benchmark(
        WHAT if what == "compute" else (what,),
        against or (),
        rounds=rounds,
        batch_size=batch_size,
        model=model,
        model_batch_size=model_batch_size,
        image_size=image_size,
        authors=Path(authors).expanduser() if authors else None,
    )
    table = benchmark_table(result)
    print(table)
    if output:
        plot_benchmark(result, Path(output))
    if readme:
        update_readme(Path(readme), table)
    return result


def env():
    """Show versions, devices and which NeoCell backend is in use and why."""
    from neonext_ms.analysis.environment import environment

    result = environment()
    width = max(map(len, result))
    for key, value in result.items():
        print(f"{key:{width}}  {value}")
    return result


def pack(data_dir: str, output: str, shard_images: int = 10000):
    """Pack an image folder into MindRecord files, for training with dataset=mindrecord; started again, it goes on.

    Args:
        data_dir: folder with train/ and val/.
        output: folder to write to.
        shard_images: images in a file.
    """
    from neonext_ms.data.packing import pack

    result = pack(Path(data_dir).expanduser(), Path(output).expanduser(), shard_images)
    for split in ("train", "val"):
        print(f"{split}: {result[split]['samples']} images, {result[split]['bytes'] / 1e9:.2f} GB")
    print(f"{output}: {result['written']} files written, {result['kept']} kept from before")
    return result


def plot(what: str, config, output: str, samples: int = 8, versions: int = 6):
    """Draw what a training run would see: a contact sheet of augmented samples.

    Args:
        output: PNG to write; must not exist.
        samples: rows of the sheet.
        versions: epochs in which each sample is shown.
    """
    from neonext_ms.analysis.contact_sheet import contact_sheet

    result = contact_sheet(config, Path(output), samples, versions)
    print(f"{output}: {len(result['samples'])} samples, each in {versions} epochs")
    return result


COMMANDS = {
    "train": train,
    "ablate": ablate,
    "report": report,
    "validate": validate,
    "profile": profile,
    "export": export,
    "convert": convert,
    "infer": infer,
    "pack": pack,
    "plot": plot,
    "benchmark": benchmark,
    "env": env,
}
SUBJECTS = {
    "plot": ["augment"],
    "benchmark": ["operator", "block", "network", "step", "compute", "data", "checkpoint", "artefact"],
}  # what these commands can show
