"""Speed of the training pipeline beside MindSpore's own C++ pipeline with the same augmentations."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from neonext_ms.benchmark.timing import Progress, check_rounds
from neonext_ms.data import Loader, Mixing, Preprocess, RandomErasing, TrainTransform, open_source
from neonext_ms.data.sources.base import IMAGENET_MEAN, IMAGENET_STD
from neonext_ms.markdown import table

SIDE, BATCH = 224, 64
SIZES = {"500x375": (500, 375, 256), "2000x1500": (2000, 1500, 64)}  # width, height, files
MIXUP, ERASING, SCALE, RATIO = 0.8, 0.25, (0.08, 1.0), (3 / 4, 4 / 3)


def benchmark_data(workers: Sequence[int], rounds: int) -> list[dict]:
    """Measure both pipelines on JPEGs that are made for it, in rounds that take turns: all see the same machine.

    Crop and bicubic resize to 224, flip, RandAugment (n=2, m=9, increasing), normalisation, random erasing, batches of
    64, mixup. Each round reads the files once, more often if they are few, with workers that are already running.

    Args:
        workers: numbers of worker processes (ours) or threads (MindSpore's) to try.
        rounds: of each.
    Returns: for each size of JPEG, pipeline and number of workers: images_per_second (median) and its lowest and
        highest; for ours also ratio, to MindSpore's in the same round (median), and scaling, to the first of `workers`.
    """
    check_rounds(rounds)
    progress = Progress(len(SIZES))
    return [row for size in SIZES for row in _rows(size, workers, rounds, progress)]


def _rows(size: str, workers: Sequence[int], rounds: int, progress: Progress) -> Iterator[dict]:
    """Those of one size of JPEG."""
    width, height, files = SIZES[size]
    progress.begin(f"JPEGs of {size}")
    progress.show("making them", 0)
    with tempfile.TemporaryDirectory() as folder:
        make_jpegs(Path(folder), width, height, files)
        repeats = max(1, 256 // files)
        pipelines = {
            (name, count): start(folder, count, repeats)
            for count in workers
            for name, start in (("neonext_ms", _ours), ("mindspore", _mindspores))
        }
        for run in pipelines.values():
            run()  # starts the workers
        rates = {key: [] for key in pipelines}
        for done in range(rounds):
            for (name, count), run in pipelines.items():
                progress.show(f"{name}, workers {count}, round {done + 1} of {rounds}", done / rounds)
                begin = time.perf_counter()
                rates[name, count].append(run() / (time.perf_counter() - begin))
        del pipelines
    for (name, count), values in rates.items():
        row = {"jpeg": size, "pipeline": name, "workers": count, "images_per_second": statistics.median(values)}
        row |= {"lowest": min(values), "highest": max(values)}
        if name == "neonext_ms":
            row["ratio"] = _median_ratio(values, rates["mindspore", count])
            row["scaling"] = _median_ratio(values, rates["neonext_ms", workers[0]])
        yield row


def data_table(rows: Sequence[dict]) -> str:
    """The rows of `benchmark_data` as a Markdown table."""
    header = ("JPEGs", "pipeline", "workers", "images/s", "lowest - highest", "to MindSpore's", "to fewest workers")
    cells = [
        (
            row["jpeg"],
            row["pipeline"],
            str(row["workers"]),
            f"{row['images_per_second']:.0f}",
            f"{row['lowest']:.0f} - {row['highest']:.0f}",
            *((f"{row[key]:.2f}" for key in ("ratio", "scaling")) if "ratio" in row else ("", "")),
        )
        for row in rows
    ]
    return table((header, *cells))


def _median_ratio(values: list[float], others: list[float]) -> float:
    return statistics.median(value / other for value, other in zip(values, others))


def make_jpegs(folder: Path, width: int, height: int, count: int):
    """folder/{train,val}/<class>/<number>.jpg: smooth random pictures with grain, about as detailed as photos."""
    rng = np.random.default_rng(0)
    for split, number in (("train", count), ("val", 2)):
        for i in range(number):
            layers = [
                weight * np.asarray(_noise(rng, width // step, height // step).resize((width, height)), np.float32)
                for step, weight in ((100, 0.5), (25, 0.3), (6, 0.2))
            ]
            pixels = sum(layers) * 1.6 - 77 + rng.normal(0, 4, (height, width, 1))
            path = folder / split / str(i % 2) / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=90)


def _noise(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def _ours(folder: str, workers: int, repeats: int) -> Callable[[], int]:
    transform = TrainTransform(
        Preprocess(SIDE, IMAGENET_MEAN, IMAGENET_STD),
        "resized",
        scale=SCALE,
        ratio=RATIO,
        auto_augment="rand-m9-inc1",
        erasing=RandomErasing(ERASING),
    )
    source = open_source("folder", folder, "train")
    loader = Loader(source, transform, BATCH, training=True, num_workers=workers, mixing=Mixing(MIXUP))
    return lambda: sum(_images(batch.images for batch in loader.epoch(epoch)) for epoch in range(repeats))


def _images(batches: Iterator[np.ndarray]) -> int:
    return sum(len(images) for images in batches)


def _mindspores(folder: str, workers: int, repeats: int) -> Callable[[], int]:
    import mindspore.dataset as ds
    from mindspore.dataset import transforms, vision

    ds.config.set_enable_autotune(False)
    data = ds.ImageFolderDataset(f"{folder}/train", num_parallel_workers=workers, shuffle=True)
    augment = vision.RandomSelectSubpolicy([[(operation, 0.5)] for operation in _mindspores_operations()])
    bicubic = vision.Inter.BICUBIC
    pixels = [
        vision.RandomCropDecodeResize(SIDE, SCALE, RATIO, interpolation=bicubic),
        vision.RandomHorizontalFlip(0.5),
        augment,
        augment,
        vision.Normalize([255 * value for value in IMAGENET_MEAN], [255 * value for value in IMAGENET_STD]),
        vision.HWC2CHW(),
        vision.RandomErasing(ERASING, value="random"),
    ]
    data = data.map(pixels, "image", num_parallel_workers=workers)
    data = data.map(transforms.OneHot(2), "label", num_parallel_workers=1)
    data = data.batch(BATCH, drop_remainder=True, num_parallel_workers=1)
    data = data.map(vision.MixUpBatch(MIXUP), ["image", "label"], num_parallel_workers=workers)
    data = data.repeat(repeats)
    # Begun anew each time: an iterator that waits would read ahead while the other pipeline is measured.
    return lambda: _images(batch[0] for batch in data.create_tuple_iterator(num_epochs=1, output_numpy=True))


def _mindspores_operations() -> list:
    """RandAugment's operations at magnitude 9: those without a sign twice, so that all are equally likely."""
    from mindspore.dataset import vision

    bicubic, fill = vision.Inter.BICUBIC, tuple(round(255 * value) for value in IMAGENET_MEAN)
    operations = []
    for sign in (1, -1):
        strength = sign * 0.9
        factor = 1 + 0.9 * strength

        def affine(translate=(0, 0), shear=(0, 0)):
            return vision.Affine(0, translate, 1.0, shear, bicubic, fill)

        operations += [
            vision.AutoContrast(),
            vision.Equalize(),
            vision.Invert(),
            vision.Rotate(30 * strength, bicubic, fill_value=fill),
            vision.Posterize(1),
            vision.Solarize((26, 255)),
            vision.Solarize((128, 255)),  # in the place of SolarizeAdd, which it does not have
            vision.AdjustSaturation(factor),
            vision.AdjustContrast(factor),
            vision.AdjustBrightness(factor),
            vision.AdjustSharpness(factor),
            affine(shear=(16.7 * sign, 0)),  # degrees: arc tangent of 0.3
            affine(shear=(0, 16.7 * sign)),
            affine(translate=(0.45 * strength, 0)),
            affine(translate=(0, 0.45 * strength)),
        ]
    return operations
