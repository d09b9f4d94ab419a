"""What a trained network keeps when its blocks are sampled anew at other sizes, on images of several sizes."""

from collections.abc import Sequence
from dataclasses import replace

import mindspore as ms

from neonext_ms.benchmark.timing import Progress
from neonext_ms.checkpoint.network import load_network, with_kernels
from neonext_ms.evaluation.evaluate import evaluate
from neonext_ms.evaluation.loader import validation_loader
from neonext_ms.markdown import table
from neonext_ms.runtime.ranks import join_ranks


def benchmark_resample(
    checkpoint: str, kernels: Sequence[str], sizes: Sequence[int], data_dir: str | None = None, num_workers: int = 1
) -> list[dict]:
    """Accuracy of a network as it was trained and with other block sizes, on the validation split that it names.

    Args:
        checkpoint: a .ckpt file with its manifest, or a model folder.
        kernels: other block sizes, each as for `resample_network`: "14", or of all stages "8+14,8+14,14,14".
        sizes: of the images, sides in pixels, with their resizing in proportion; the network's own if none.
        data_dir: where the data set is now, if it was moved.
        num_workers: processes that prepare batches.

    Returns:
        a row an image size and kernels: image_size, kernels (of all stages), trained (whether these are the network's
        own, at the size that it was trained on), accuracy (0..1), loss.

    Raises:
        UserError: a network or data that cannot be had, or blocks that cannot get these sizes.
    """
    ms.set_context(mode=ms.GRAPH_MODE)
    ranks = join_ranks("auto")
    network, card = load_network(checkpoint)
    forms = [(network, card)] + [with_kernels(network, card, value.split(",")) for value in kernels]
    sizes = sizes or (card.preprocess.image_size,)
    progress = Progress(len(sizes) * len(forms))
    rows = []
    for size in sizes:
        pictures = replace(card.preprocess, image_size=size)
        for form, own in forms:
            blocks = " ".join(form.spec.kernels)
            progress.begin(f"{size} pixels, blocks {blocks}")
            progress.show("evaluation", 0)
            loader = validation_loader(
                replace(own, preprocess=pictures), ranks, data_dir=data_dir, batch_size=100, num_workers=num_workers
            )
            found = evaluate(
                lambda images, form=form: form(ms.Tensor(images)).asnumpy(), loader, ranks, threshold=card.threshold
            )
            trained = form is network and size == card.preprocess.image_size
            measures = {"accuracy": found["accuracy"], "loss": found["loss"]}
            rows.append({"image_size": size, "kernels": blocks, "trained": trained, **measures})
    return rows


def resample_table(rows: Sequence[dict]) -> str:
    """The rows of `benchmark_resample` as a Markdown table."""
    lines = [("image", "blocks", "accuracy (%)", "loss")]
    for row in rows:
        blocks = row["kernels"] + " (as trained)" * row["trained"]
        lines.append((str(row["image_size"]), blocks, f"{100 * row['accuracy']:.2f}", f"{row['loss']:.4f}"))
    return table(lines, right=True)
