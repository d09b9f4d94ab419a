"""`neonext benchmark <subject>`: one function a subject, with the options of that subject alone.

One file, because it is a list: each function is its options with their texts, and a call.
"""

from pathlib import Path
from typing import Literal

Torch = Literal["torch", "torch-compile", "torch-bf16"]


def operator(
    against: tuple[Literal["dense", "patchwise", "depthwise", "wbmm", Torch], ...] = (),
    rounds: int = 15,
    batch_size: int = 16,
    authors: str | None = None,
    output: str | None = None,
    readme: str | None = None,
):
    """Time NeoCell beside its other formulations, depthwise convolutions and its own kernel without MindSpore.

    Args:
        against: NeoCell's other formulations, depthwise convolutions 7 x 7 of MindSpore or PyTorch (eager, compiled,
            compiled in bfloat16), or WBMM's windowed product.
        rounds: measurements of each contender, in turns; medians are reported.
        batch_size: images.
        authors: clone of the authors' repository (HapKoM/neonext on GitHub), whose PyTorch code then runs as well.
        output: PNG file to draw.
        readme: Markdown file whose text between the marks named after the subject is replaced by the table.
    """
    return _compute("operator", ("operator",), **locals())


def block(
    against: tuple[Literal["dense", "bfloat16", "openvino", Torch], ...] = (),
    rounds: int = 15,
    batch_size: int = 16,
    output: str | None = None,
    readme: str | None = None,
):
    """Time a block: NeoCell, BatchNorm and MLP.

    Args:
        against: a block with MindSpore's own operators or products in bfloat16, or a ConvNeXt-shaped one in PyTorch
            (eager, compiled, compiled in bfloat16) or, forward, OpenVINO (float32 and bfloat16).
        rounds: measurements of each contender, in turns; medians are reported.
        batch_size: images.
        output: PNG file to draw.
        readme: Markdown file whose text between the marks named after the subject is replaced by the table.
    """
    return _compute("block", ("block",), **locals())


def network(
    against: tuple[Literal["dense", "bfloat16", "openvino", Torch], ...] = (),
    rounds: int = 15,
    model: str = "neonext_t",
    model_batch_size: int = 8,
    image_size: int = 224,
    authors: str | None = None,
    output: str | None = None,
    readme: str | None = None,
):
    """Time a network, forward, as it was trained and folded.

    Args:
        against: the network with MindSpore's own operators or products in bfloat16, or a ConvNeXt-T-shaped one in
            PyTorch (eager, compiled, compiled in bfloat16) or OpenVINO (float32 and bfloat16).
        rounds: a third of them are run: measurements of each contender, in turns; medians are reported.
        model: its name.
        model_batch_size: images.
        image_size: side of the images in pixels.
        authors: clone of the authors' repository (HapKoM/neonext on GitHub), whose PyTorch code then runs as well.
        output: PNG file to draw.
        readme: Markdown file whose text between the marks named after the subject is replaced by the table.
    """
    return _compute("network", ("network",), **locals())


def step(
    against: tuple[Literal["dense", "bfloat16", Torch], ...] = (),
    rounds: int = 15,
    model: str = "neonext_t",
    model_batch_size: int = 8,
    image_size: int = 224,
    authors: str | None = None,
    output: str | None = None,
    readme: str | None = None,
):
    """Time a network forward and backward, as a training step runs it.

    Args:
        against: the network with MindSpore's own operators or products in bfloat16, or a ConvNeXt-T-shaped one in
            PyTorch (eager, compiled, and compiled with autocast to bfloat16).
        rounds: a third of them are run: measurements of each contender, in turns; medians are reported.
        model: its name.
        model_batch_size: images.
        image_size: side of the images in pixels.
        authors: clone of the authors' repository (HapKoM/neonext on GitHub), whose PyTorch code then runs as well.
        output: PNG file to draw.
        readme: Markdown file whose text between the marks named after the subject is replaced by the table.
    """
    return _compute("step", ("step",), **locals())


def update(rounds: int = 15, model: str = "neonext_t", output: str | None = None, readme: str | None = None):
    """Time an update of a network's weights from their gradients, beside a copy of the bytes that it must move.

    Args:
        rounds: measurements of each contender, in turns; medians are reported.
        model: its name.
        output: PNG file to draw.
        readme: Markdown file whose text between the marks named after the subject is replaced by the table.
    """
    return _compute("update", ("update",), **locals())


def compute(
    against: tuple[Literal["dense", "patchwise", "depthwise", "wbmm", "bfloat16", "openvino", Torch], ...] = (),
    rounds: int = 15,
    batch_size: int = 16,
    model: str = "neonext_t",
    model_batch_size: int = 8,
    image_size: int = 224,
    authors: str | None = None,
    output: str | None = None,
    readme: str | None = None,
):
    """Time operator, block, network, step and update, all in one table.

    Args:
        against: other contenders, each where it applies.
        rounds: measurements of each contender, in turns; networks take a third of them. Medians are reported.
        batch_size: images of operator and block.
        model: network to time.
        model_batch_size: its images.
        image_size: side of its images in pixels.
        authors: clone of the authors' repository (HapKoM/neonext on GitHub), whose PyTorch code then runs as well.
        output: PNG file to draw.
        readme: Markdown file whose text between the marks named after the subject is replaced by the table.
    """
    return _compute("compute", ("operator", "block", "network", "step", "update"), **locals())


def layers(
    rounds: int = 15,
    model: str = "neonext_t",
    model_batch_size: int = 8,
    image_size: int = 224,
    matmul_precision: str | None = None,
    readme: str | None = None,
):
    """Show where a network's time goes: each kind of layer at its own shapes, and how far it is from the peak.

    Args:
        rounds: measurements of each layer, in turns; medians are reported.
        model: name of the network.
        model_batch_size: images.
        image_size: side of the images in pixels.
        matmul_precision: of the products, highest or bfloat16; null for what NEONEXT_MATMUL_PRECISION says.
        readme: Markdown file whose text between the marks named after the subject, in bfloat16 layers_bfloat16, is
            replaced by the table.
    """
    from neonext_ms.benchmark.layers import benchmark_layers
    from neonext_ms.benchmark.layers_report import layers_table
    from neonext_ms.ops.backend import check_precision
    from neonext_ms.ops.precision import using_matmul_precision

    check_precision(matmul_precision)
    with using_matmul_precision(matmul_precision):
        result = benchmark_layers(model, model_batch_size, image_size, rounds)
    precision = result["matmul_precision"]
    subject = "layers" if precision == "highest" else f"layers_{precision}"
    return _show(subject, result, layers_table(result), readme)


def data(workers: tuple[int, ...] = (1, 2), rounds: int = 15, readme: str | None = None):
    """Time the training pipeline beside MindSpore's own C++ pipeline, on JPEGs that are made for it.

    Args:
        workers: numbers of worker processes to try, such as 1 2.
        rounds: readings of all files by each, in turns; medians are reported.
        readme: Markdown file whose text between the marks named after the subject is replaced by the table.
    """
    from neonext_ms.benchmark.data import benchmark_data, data_table

    result = benchmark_data(workers, rounds)
    return _show("data", result, _with_machine(data_table(result)), readme)


def checkpoint(
    rounds: int = 15,
    model: str = "neonext_t",
    model_batch_size: int = 8,
    image_size: int = 224,
    readme: str | None = None,
):
    """Time training steps beside the writing of a checkpoint, and without.

    Args:
        rounds: checkpoints that are written.
        model: name of the network.
        model_batch_size: images of a step.
        image_size: side of the images in pixels.
        readme: Markdown file whose text between the marks named after the subject is replaced by the table.
    """
    from neonext_ms.benchmark.checkpoint import benchmark_checkpoint, checkpoint_table

    result = benchmark_checkpoint(model, model_batch_size, image_size, rounds)
    return _show("checkpoint", result, _with_machine(checkpoint_table(result)), readme)


def artefact(
    models: list[str],
    batch_sizes: tuple[int, ...] = (1, 8),
    rounds: int = 15,
    authors: str | None = None,
    readme: str | None = None,
):
    """Time a trained network in all its forms, with their memory: checkpoint, folded, MindIR, ONNX.

    Args:
        models: files, such as x.ckpt x.mindir x.onnx.
        batch_sizes: images in a batch; a file for another number is left out.
        rounds: measurements of each form, in turns; medians are reported.
        authors: clone of the authors' repository (HapKoM/neonext on GitHub), whose PyTorch code then runs the weights
            of each checkpoint as well.
        readme: Markdown file whose text between the marks named after the subject is replaced by the table.
    """
    from neonext_ms.benchmark.artefact import artefact_table, benchmark_artefacts

    result = benchmark_artefacts(models, batch_sizes, rounds, _folder(authors))
    return _show("artefact", result, _with_machine(artefact_table(result)), readme)


def fold(models: list[str] | None = None, image_sizes: tuple[int, ...] = (224, 384), readme: str | None = None):
    """Show how far folding moves a network's logits: rounding, for every member of the family (minutes, 11 GB).

    Args:
        models: names; all if null.
        image_sizes: sides of the images in pixels.
        readme: Markdown file whose text between the marks named after the subject is replaced by the table.
    """
    from neonext_ms.benchmark.fold_difference import benchmark_fold, fold_table
    from neonext_ms.models import list_models

    result = benchmark_fold(models or list_models(), image_sizes)
    return _show("fold", result, fold_table(result), readme)


def resample(
    model: str,
    kernels: list[str],
    image_sizes: tuple[int, ...] = (),
    data_dir: str | None = None,
    num_workers: int = 1,
    readme: str | None = None,
):
    """Show what a trained network keeps when its blocks are sampled anew at other sizes, on images of several sizes.

    Args:
        model: checkpoint or model folder.
        kernels: block sizes to resample to, as for neonext convert, those of several stages with commas between them:
            14 8+14,8+14,14,14.
        image_sizes: sides of the images in pixels; the model's own if none.
        data_dir: where the model's data set is, if it was moved.
        num_workers: processes that prepare batches; 0 prepares them in the loop.
        readme: Markdown file whose text between the marks named after the subject is replaced by the table.
    """
    from neonext_ms.benchmark.resample import benchmark_resample, resample_table

    result = benchmark_resample(model, kernels, image_sizes, data_dir, num_workers)
    return _show("resample", result, resample_table(result), readme)


def ascend(
    work: tuple[Literal["train", "evaluate"], ...] = ("train", "evaluate"),
    against: tuple[Literal["mindcv"], ...] = (),
    model: str = "neonext_t",
    batch_size: int = 128,
    image_size: int = 224,
    precision: Literal["float16", "bfloat16", "float32"] = "float16",
    jit_levels: tuple[Literal["O0", "O1"], ...] = ("O0", "O1"),
    ranks: int = 1,
    mindir: str | None = None,
    readme: str | None = None,
):
    """Show what an NPU is given for a step: kernels, launches and memory, and a model of the time. Needs no NPU.

    Args:
        work: of the model: a training step (AdamW, EMA, clipping, loss scale), or a batch of an evaluation.
        against: other models in the same run: mindcv's ConvNeXt-T, and it and ResNet-50 at sizes with published times.
        model: its name.
        batch_size: images of a rank.
        image_size: side of the images in pixels.
        precision: of the activations.
        jit_levels: MindSpore's: O0 launches a kernel an operator, O1 fuses some.
        ranks: NPUs of the job, of which one is looked at.
        mindir: exported model to look at as well, with the batch and image size that it was exported for.
        readme: Markdown file whose text between the marks named after the subject is replaced by the table.
    """
    from neonext_ms.benchmark import ascend as subject

    sizes = {"batch_size": batch_size, "image_size": image_size, "precision": precision, "ranks": ranks}
    cases = [subject.DryCase(model, kind, jit_level=level, **sizes) for kind in work for level in jit_levels]
    if mindir:
        path = str(Path(mindir).expanduser().resolve())
        cases += [subject.DryCase(path, "mindir", jit_level=level, **{**sizes, "ranks": 1}) for level in jit_levels]
    if "mindcv" in against:
        cases += subject.mindcv_cases(sizes)
    result = subject.benchmark_ascend(cases)
    return _show("ascend", result, subject.ascend_table(result), readme)


def chips(
    models: tuple[str, ...] = ("neonext_t", "neonext_s", "neonext_b", "neonext_l"),
    image_sizes: tuple[int, ...] = (224, 384),
    batch_size: int = 128,
    readme: str | None = None,
):
    """Model whole networks on Ascend 910B1 to B4 and 910_93, with and without the project's operators. Needs no NPU.

    Args:
        models: their names; forward and training step of each, a dry run with and one without the operators.
        image_sizes: sides of the images in pixels.
        batch_size: images of a rank.
        readme: Markdown file whose text between the marks named after the subject is replaced by the table.
    """
    from neonext_ms.benchmark import ascend_chips as subject

    result = subject.benchmark_chips(models, image_sizes, batch_size)
    return _show("chips", result, subject.chips_table(result), readme)


def memory(
    models: tuple[str, ...] = ("neonext_b", "neonext_xl"),
    batch_size: int = 64,
    image_size: int = 384,
    readme: str | None = None,
):
    """Show the peak memory of training steps on an NPU, with and without recompute and parallel_optimizer. Needs none.

    Args:
        models: their names; each on one and eight ranks, float16.
        batch_size: images of a rank.
        image_size: side of the images in pixels.
        readme: Markdown file whose text between the marks named after the subject is replaced by the table.
    """
    from neonext_ms.benchmark import ascend_memory as subject

    result = subject.benchmark_memory(subject.memory_cases(models, batch_size, image_size))
    return _show("memory", result, subject.memory_table(result), readme)


SUBJECTS = {
    function.__name__: function
    for function in (
        operator,
        block,
        network,
        step,
        update,
        compute,
        layers,
        data,
        checkpoint,
        artefact,
        fold,
        resample,
        ascend,
        chips,
        memory,
    )
}


def _compute(subject: str, parts: tuple[str, ...], authors=None, output=None, readme=None, **options):
    from neonext_ms.benchmark.cases import Settings
    from neonext_ms.benchmark.compute import benchmark_compute
    from neonext_ms.benchmark.compute_report import compute_table, draw_compute

    result = benchmark_compute(parts, Settings(authors=_folder(authors), **options))
    if output:
        draw_compute(result, Path(output))
    return _show(subject, result, compute_table(result), readme)


def _show(subject: str, result, text: str, readme: str | None):
    from neonext_ms.markdown import replace_between_marks

    print(text)
    if readme:
        replace_between_marks(Path(readme), subject, text)
    return result


def _with_machine(text: str) -> str:
    from neonext_ms.benchmark.machine import describe_machine, machine_line

    return f"{text}\n\n{machine_line(describe_machine())}"


def _folder(path: str | None) -> Path | None:
    return Path(path).expanduser() if path else None
