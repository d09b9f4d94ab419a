"""Commands that count and measure."""

from pathlib import Path


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
    """Measure operator, block, network, step, all four (compute), layers, data loading, checkpoints or artefacts.

    Contenders take turns, and the medians of the rounds are reported. Layers are those of the network at their own
    shapes, with their share of its time, and how far their products are from the processor's peak. The data pipeline
    runs beside MindSpore's own C++ pipeline, on JPEGs that are made for it. Artefacts are a checkpoint, as it is and
    folded, and exported files. Of checkpoints, it is what the writing of one costs the steps beside it.

    Args:
        against: any of dense, patchwise, depthwise (MindSpore's 7 x 7), torch (PyTorch's, where it is installed).
        rounds: measurements of each contender; networks and their steps take a third of them.
        batch_size: images of the operator and the block.
        model: network to measure.
        model_batch_size: images of the network, its step and its layers, also beside checkpoints.
        image_size: side of these images in pixels.
        output: PNG file to draw.
        readme: Markdown file whose table is replaced, between the two marks named "benchmark", of layers "layers".
        authors: clone of the authors' repository (HapKoM/neonext on GitHub), whose PyTorch code then runs as well; of
            artefacts with the weights of each checkpoint.
        workers: of the data pipeline, numbers to try, as in --workers '[1, 2]'.
        models: artefacts, as in --models '[x.ckpt, x.mindir, x.onnx]'.
        batch_sizes: of the artefacts.
    """
    if what == "artefact":
        from neonext_ms.benchmark.artefact import artefact_table, benchmark_artefacts

        rows = benchmark_artefacts(models or (), batch_sizes, rounds, authors and Path(authors).expanduser())
        print(artefact_table(rows))
        return rows
    if what == "checkpoint":
        from neonext_ms.benchmark.checkpoint import benchmark_checkpoint, checkpoint_table

        result = benchmark_checkpoint(model, model_batch_size, image_size, rounds)
        print(checkpoint_table(result))
        return result
    if what == "data":
        from neonext_ms.benchmark.data import benchmark_data, data_table

        rows = benchmark_data(workers, rounds)
        print(data_table(rows))
        return rows
    if what == "layers":
        from neonext_ms.benchmark.layers import benchmark_layers, layers_table
        from neonext_ms.benchmark.table import update_readme

        result = benchmark_layers(model, model_batch_size, image_size, rounds)
        table = layers_table(result)
        print(table)
        if readme:
            update_readme(Path(readme), table, "layers")
        return result
    from neonext_ms.benchmark.compute import WHAT, benchmark
    from neonext_ms.benchmark.table import benchmark_table, plot_benchmark, update_readme

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
