"""Classify images with a trained model, with the preprocessing that it carries."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from neonext_ms.checkpoint.card import DatasetName, validation_source
from neonext_ms.checks import whole_number
from neonext_ms.data import Preprocess
from neonext_ms.data.channels import RGB
from neonext_ms.data.decode import pil_pixels
from neonext_ms.deploy.image_files import read_with_note, with_note
from neonext_ms.deploy.opening import open_model
from neonext_ms.errors import UserError
from neonext_ms.evaluation.exported import run_filled
from neonext_ms.evaluation.scores import log_softmax, order

# Images in a batch, unless the file was exported for another number.
BATCH_SIZE = 32


ImageLike = np.ndarray | Image.Image | str | Path


class Prediction(NamedTuple):
    """A class and the probability that the network gives it."""

    index: int
    name: str
    probability: float


class Result(NamedTuple):
    """What was found out about one image.

    Attributes:
        image: where it comes from.
        classes: the most probable first; none if it was not classified.
        error: why it was not classified.
        note: what is special about it, such as an animation of which the first frame was taken.
        label: name of its true class, where that is known.
    """

    image: str
    classes: list[Prediction]
    error: str | None = None
    note: str | None = None
    label: str | None = None


class Classifier:
    """Images in, the most probable classes out.

        classifier = Classifier.open("model.mindir")
        (best, second), = classifier.predict(["cat.jpg"], top_k=2)
        print(best.name, best.probability)

    Args:
        network: (n, C, S, S) float32 -> (n, K) logits, both NumPy.
        preprocess: from an image to the network's input.
        class_names: K names.
        fixed_batch: the only n that the network takes; None for any.
        dataset: that the network was trained on, if known.
        batch_size: images to run at once; None for fixed_batch or BATCH_SIZE.
        threshold: see `ModelCard`; with it, answers are all classes above it, whatever top_k is.
    """

    def __init__(
        self,
        network: Callable[[np.ndarray], np.ndarray],
        preprocess: Preprocess,
        class_names: Sequence[str],
        fixed_batch: int | None = None,
        dataset: DatasetName | None = None,
        batch_size: int | None = None,
        threshold: float | None = None,
    ):
        if batch_size is not None:
            batch_size = whole_number("batch_size", batch_size, 1)
        if fixed_batch and batch_size not in (None, fixed_batch):
            raise UserError(f"the model was exported for a batch_size of {fixed_batch}, got {batch_size}: leave it out")
        self.network = network
        self.preprocess = preprocess
        self.class_names = list(class_names)
        self.fixed_batch = fixed_batch
        self.dataset = dataset
        self.threshold = threshold
        self.batch_size = batch_size or fixed_batch or BATCH_SIZE

    @classmethod
    def open(
        cls,
        path: str | Path,
        key: bytes | None = None,
        batch_size: int | None = None,
        matmul_precision: str | None = None,
    ) -> "Classifier":
        """Open a .ckpt, .mindir or .onnx; arguments and errors as those of `open_model`. Sets graph mode."""
        model = open_model(path, key, matmul_precision)
        card = model.card
        network, names = model.network, card.class_names
        return cls(network, card.preprocess, names, model.batch_size, card.dataset, batch_size, card.threshold)

    def most(self, top_k: int) -> int:
        """How many classes an answer may have where `top_k` are asked for."""
        return top_k if self.threshold is None else len(self.class_names)

    def predict(self, images: Iterable[ImageLike] | ImageLike, top_k: int = 5) -> list[list[Prediction]]:
        """Classify images.

        Args:
            images: files, Pillow's images, or (H, W, C) uint8, of any sizes; RGB and grey may be for one another. One
                alone is taken for a list of it.
            top_k: how many classes to return; all if there are fewer.

        Returns:
            for each image its most probable classes, the most probable first.

        Raises:
            UserError: the first image that cannot be classified, and why.
        """
        whole_number("top_k", top_k, 1)
        alone = isinstance(images, str | Path | bytes | Image.Image) or not isinstance(images, Iterable)
        alone = alone or (isinstance(images, np.ndarray) and images.ndim < 4)
        predictions, numbered = [], enumerate([images] if alone else images, 1)
        while chunk := [self._input(*one) for one in islice(numbered, self.batch_size)]:
            for logits in self.logits(np.stack(chunk)):
                classes, error = self._best(logits, top_k)
                if error:
                    raise UserError(f"image {len(predictions) + 1}: {error}")
                predictions.append(classes)
        return predictions

    def predict_files(self, paths: Iterable[str | Path], top_k: int = 5) -> Iterator[Result]:
        """Classify image files, batch by batch in their order; one that cannot be read is reported in its place."""
        yield from self._report(((Result(str(path), []), partial(read_with_note, path)) for path in paths), top_k)

    def predict_validation(
        self, count: int, dataset: str | None = None, data_dir: str | None = None, top_k: int = 5
    ) -> Iterator[Result]:
        """Classify `count` images spread over a validation split, by default of the data set that was trained on.

        One that cannot be read is reported in its place.

        Raises:
            UserError: the data set cannot be opened or has other classes, or the model does not say what it was
                trained on.
        """
        count = whole_number("count", count, 1)
        source = validation_source(self.dataset, self.class_names, "the model", dataset, data_dir)
        images = (
            (Result(source.describe(i), [], label=source.label_name(i)), partial(with_note, source, i))
            for i in source.spread(count)
        )
        yield from self._report(images, top_k)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """(n, C, S, S) float32 -> (n, K) float32, for any n: the network gets batches of the sizes that it takes.

        MindSpore compiles a graph for every size of a batch: where any is taken, only powers of two are used.

        Raises:
            UserError: images of another shape or type.
        """
        side, channels = self.preprocess.image_size, self.preprocess.channels
        if images.ndim != 4 or images.shape[1:] != (channels, side, side) or images.dtype != np.float32:
            expected = f"(N, {channels}, {side}, {side}) float32"
            raise UserError(f"the network takes {expected}, got {images.shape} {images.dtype}")
        results = []
        for start in range(0, len(images), self.batch_size):
            batch = images[start : start + self.batch_size]
            size = self.fixed_batch or 1 << (len(batch) - 1).bit_length()
            results.append(run_filled(self.network, batch, size))
        return np.concatenate(results) if results else np.zeros((0, len(self.class_names)), np.float32)

    def _input(self, number: int, image: ImageLike) -> np.ndarray:
        """(C, S, S) float32 of the image that a user gave as the `number`-th."""
        return self.preprocess(_pixels(number, image, self.preprocess.channels))

    def _report(self, images: Iterable[tuple[Result, Callable]], top_k: int) -> Iterator[Result]:
        """Complete the results of images, each given with what reads its pixels and a note."""
        whole_number("top_k", top_k, 1)
        batch, inputs = [], []
        for result, read in images:
            try:
                image, note = read()
                inputs.append(self.preprocess(image))
                batch.append(result._replace(note=note))
            except UserError as error:
                batch.append(result._replace(error=str(error)))
            if len(inputs) == self.batch_size:
                yield from self._classified(batch, inputs, top_k)
                batch, inputs = [], []
        yield from self._classified(batch, inputs, top_k)

    def _classified(self, batch: list[Result], inputs: list[np.ndarray], top_k: int) -> Iterator[Result]:
        rows = iter(self.logits(np.stack(inputs)) if inputs else ())
        for result in batch:
            if result.error is None:
                classes, error = self._best(next(rows), top_k)
                result = result._replace(classes=classes, error=error)
            yield result

    def _best(self, logits: np.ndarray, top_k: int) -> tuple[list[Prediction], str | None]:
        if not np.isfinite(logits).all():
            return [], "the network's outputs are not finite numbers: export it with float32 weights"
        if self.threshold is None:
            probabilities, best = np.exp(log_softmax(logits)), order(logits)[:top_k]
        else:
            probabilities = np.exp(-np.logaddexp(0, -logits.astype(np.float64)))
            best = [i for i in order(logits) if probabilities[i] > self.threshold]
        return [Prediction(int(i), self.class_names[i], float(probabilities[i])) for i in best], None


def _pixels(number: int, image: ImageLike, channels: int) -> np.ndarray:
    if isinstance(image, str | Path):
        return read_with_note(image)[0]
    if isinstance(image, Image.Image):
        return pil_pixels(image, f"image {number}")
    order = {1: "grey", RGB: "RGB"}.get(channels, "the order of training")
    expected = f"image {number} must be a file, an image of Pillow, or (H, W, {channels}) uint8 in {order}"
    if not isinstance(image, np.ndarray):
        raise UserError(f"{expected}, got a {type(image).__name__}")
    fitting = {1, RGB} if channels in (1, RGB) else {channels}
    if image.ndim == 2 and channels in fitting and 1 in fitting:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in fitting or image.dtype != np.uint8 or not image.size:
        raise UserError(f"{expected}, got {image.shape} {image.dtype}")
    return image
