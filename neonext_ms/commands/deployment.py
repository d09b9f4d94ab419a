"""Commands of trained models: accuracy, export, conversion, inference."""

import sys
from pathlib import Path
from typing import Literal

from neonext_ms.errors import Incomplete, UserError
from neonext_ms.terminal import say


def validate_command(
    model: str,
    dataset: str | None = None,
    data_dir: str | None = None,
    batch_size: int = 100,
    num_workers: int = 1,
    max_bad_share: float = 0.5,
    key_file: str | None = None,
    matmul_precision: Literal["highest", "bfloat16"] | None = None,
    device: Literal["auto", "CPU", "Ascend"] = "auto",
):
    """Evaluate a checkpoint or an exported file on a validation split, with the preprocessing that it carries.

    Args:
        model: .ckpt, .mindir or .onnx file.
        dataset: the model's own if null.
        data_dir: where the data set is; the model's own if dataset is null.
        batch_size: images a step on each device.
        num_workers: processes that prepare batches; 0 prepares them in the evaluation loop.
        max_bad_share: of the images; those that cannot be read are left out and counted, and of more nothing is said.
        key_file: of an encrypted MindIR; the environment variable NEONEXT_KEY if null.
        matmul_precision: of a checkpoint on a CPU; bfloat16 rounds what enters products, which some processors do in
            half the time. The environment variable NEONEXT_MATMUL_PRECISION, or highest, if null.
        device: where to run; auto takes an Ascend NPU if there is one.
    """
    from neonext_ms.deploy.key import read_key
    from neonext_ms.deploy.validate import validate

    key = read_key(key_file) if key_file else None
    result = validate(
        Path(model),
        device,
        key,
        matmul_precision,
        dataset=dataset,
        data_dir=data_dir,
        batch_size=batch_size,
        num_workers=num_workers,
        max_bad_share=max_bad_share,
    )
    left_out = f", {result['unreadable']} could not be read" if result["unreadable"] else ""
    names = {"top5_accuracy": "top-5", "mAP": "mAP", "f1": "F1"}
    more = "".join(f", {name} {100 * result[key]:.2f} %" for key, name in names.items() if key in result)
    counted = f"loss {result['loss']:.4f} on {result['images']} images{left_out}"
    say(f"accuracy {100 * result['accuracy']:.2f} %{more}, {counted}")
    return result


def export_command(
    checkpoint: str,
    output: str,
    format: Literal["file", "folder"] = "file",
    batch_size: int | None = 1,
    image_size: int | None = None,
    fold: bool = True,
    gelu: Literal["exact", "tanh"] = "exact",
    weights: Literal["float32", "float16"] = "float32",
    opset: int | None = None,
    encrypt: bool = False,
    key_file: str | None = None,
    kernels: list[str] | None = None,
    device: Literal["auto", "CPU", "Ascend"] = "auto",
):
    """Write a checkpoint as MindIR or ONNX, verified in a new process on real images before it is kept, and its card.

    Or as a model folder (config.json, model.safetensors, README.md) for others to use, train on or publish.

    Args:
        checkpoint: .ckpt file of a run, or a model folder.
        output: .mindir or .onnx file, or folder, to write; must not exist.
        format: file, or folder, to which no option below applies.
        batch_size: images in a batch, which every use of the file must then have; null for any number.
        image_size: side of the input in pixels; the checkpoint's own if null.
        fold: multiply the network's constants together first; false for the graph as it was trained (MindIR only).
        gelu: the error function as trained, or its tanh approximation.
        weights: float16 halves the file, and its arithmetic is half precision.
        opset: ONNX's operator set, 11 to 21; 11 if null.
        encrypt: encrypt a MindIR with the key in key_file.
        key_file: with encrypt; 32, 48 or 64 hexadecimal digits; the environment variable NEONEXT_KEY if null.
        kernels: block sizes to resample the trained blocks to: one for each stage, as in --kernels 4+7 4+7 7 12, or
            the new size of the largest.
        device: where to compare; auto takes an Ascend NPU if there is one.
    """
    from neonext_ms.deploy import export_model
    from neonext_ms.deploy.key import read_key
    from neonext_ms.runtime.ranks import join_ranks

    if format == "folder":
        given = (batch_size, image_size, fold, gelu, weights, opset, encrypt, key_file, kernels, device)
        alone = given == (1, None, True, "exact", "float32", None, False, None, None, "auto")
        return _export_folder(checkpoint, output, alone)
    if key_file and not encrypt:
        raise UserError(
            f"--key_file {key_file} without --encrypt true would leave the file readable: give both or none"
        )
    key = read_key(key_file) if encrypt else None
    join_ranks(device)
    card = export_model(
        Path(checkpoint),
        Path(output),
        batch_size=batch_size,
        image_size=image_size,
        folded=fold,
        gelu=gelu,
        weights=weights,
        key=key,
        kernels=kernels,
        opset=opset,
    )
    proof = card["verification"]
    difference, limit = f"{proof['largest_difference']:.2g}", f"{proof['limit']:.2g}"
    say(
        f"{output}: {card['file']['bytes'] / 1e6:.2f} MB; largest difference from the checkpoint {difference} "
        f"(limit {limit}) on {proof['images']} images of {proof['source']}"
    )
    return card


def _export_folder(checkpoint: str, output: str, alone: bool):
    from neonext_ms.deploy.export.folder import write_folder

    if not alone:
        raise UserError("--format folder holds the weights as they were trained: leave the other options out")
    config = write_folder(checkpoint, output)
    print(f"{output}: {config['architecture']}, {config['file']['bytes'] / 1e6:.2f} MB of weights")
    return config


def convert_command(
    input: str,
    output: str,
    model: str | None = None,
    image_size: int | None = None,
    shifts: list[int] | None = None,
    class_names: str | None = None,
    ema: bool = False,
    verify: str | None = None,
    kernels: list[str] | None = None,
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
        kernels: block sizes to resample the trained blocks to: one for each stage, as in --kernels 4+7 4+7 7 12, or
            the new size of the largest.
    """
    from neonext_ms.deploy.convert.convert import convert

    result = convert(
        Path(input),
        Path(output),
        model=model,
        image_size=image_size,
        shifts=shifts,
        class_names=class_names and Path(class_names),
        ema=ema,
        official=verify and Path(verify),
        kernels=kernels,
    )
    name, classes, overrides = result["model"].values()
    say(f"{output}: {name}, {classes} classes" + "".join(f", {key} {value}" for key, value in overrides.items()))
    say(
        f"{result['tensors']} tensors, {result['values']:,} values under the names of {result['names']}; "
        f"{len(result['left_out'])} batch counters have no place in our network; none missing, none unexpected"
    )
    if verify:
        proof = result["verification"]
        say(
            f"largest difference from the authors' logits {proof['largest_difference']:.2g} (limit "
            f"{proof['limit']:.2g}) on {proof['samples']} samples"
        )
    return result


def infer_command(
    model: str,
    images: list[str],
    top_k: int = 3,
    count: int = 0,
    dataset: str | None = None,
    data_dir: str | None = None,
    format: Literal["text", "jsonl", "csv"] = "text",
    output: str | None = None,
    batch_size: int | None = None,
    key_file: str | None = None,
    matmul_precision: Literal["highest", "bfloat16"] | None = None,
    device: Literal["auto", "CPU", "Ascend"] = "auto",
):
    """Classify image files, or validation images of a data set, with a checkpoint or an exported model.

    A file that cannot be classified is reported in its place, the others are classified, and the exit code is 3.

    Args:
        model: .ckpt, .mindir or .onnx file.
        images: image files, folders, patterns, or - for a list of files on the standard input, one a line.
        top_k: classes to show for each image; where one may have several, all above the model's threshold are shown.
        count: validation images to classify, spread over the split, instead of files.
        dataset: to take them from; the model's own if null.
        data_dir: where that data set is; the model's own if dataset is null.
        format: one line an image for people, as a JSON object, or as CSV.
        output: file for these lines, which must not exist; the standard output if null.
        batch_size: images to run at once; the only number that the model takes, or 32, if null.
        key_file: of an encrypted MindIR; the environment variable NEONEXT_KEY if null.
        matmul_precision: of a checkpoint on a CPU; bfloat16 rounds what enters products, which some processors do in
            half the time. The environment variable NEONEXT_MATMUL_PRECISION, or highest, if null.
        device: where to run; auto takes an Ascend NPU if there is one.
    """
    from neonext_ms.deploy import Classifier, image_paths
    from neonext_ms.deploy.key import read_key
    from neonext_ms.deploy.results import as_dict, formatted, write_lines
    from neonext_ms.runtime.ranks import join_ranks

    if bool(images) == bool(count):
        raise UserError("infer needs image files or folders, or --count for validation images: give one of them")
    paths = image_paths(images, sys.stdin)
    join_ranks(device)
    classifier = Classifier.open(model, read_key(key_file) if key_file else None, batch_size, matmul_precision)
    if count:
        results = classifier.predict_validation(count, dataset, data_dir, top_k)
    else:
        results = classifier.predict_files(paths, top_k)
    rows = []
    lines = formatted((rows.append(as_dict(result)) or result for result in results), format, classifier.most(top_k))
    if output:
        write_lines(Path(output), lines)
    else:
        for line in lines:
            print(line)
    if failed := sum(row["error"] is not None for row in rows):
        raise Incomplete(f"{failed} of {len(rows)} images could not be classified", rows)
    return rows
