"""Classify images with a checkpoint or an exported MindIR, with the preprocessing that it carries."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neonext_ms.data import Preprocess, open_source, read_image
from neonext_ms.data.sources import EXTENSIONS
from neonext_ms.deploy.export import CARD_FORMAT
from neonext_ms.errors import UserError
from neonext_ms.training.checkpoint import load_network
from neonext_ms.training.manifest import manifest_path

# Images in a batch, unless the file was exported for another number.
BATCH_SIZE = 32


class Prediction(NamedTuple):
    """A class and the probability that the network gives it."""

    index: int
    name: str
    probability: float


class Predictor:
    """Images in, the most probable classes out; `Predictor.open` makes one.

    Args:
        network: (n, 3, S, S) float32 -> (n, K) logits, both NumPy.
        preprocess: from an image to the network's input.
        class_names: K names.
        batch_size: the only n that the network takes; None for any.
        dataset: {name, data_dir} that the network was trained on, if known.
    """

    def __init__(
        self,
        network: Callable[[np.ndarray], np.ndarray],
        preprocess: Preprocess,
        class_names: Sequence[str],
        batch_size: int | None = None,
        dataset: dict | None = None,
    ):
        self.network = network
        self.preprocess = preprocess
        self.class_names = list(class_names)
        self.batch_size = batch_size
        self.dataset = dataset

    @classmethod
    def open(cls, path: str | Path) -> "Predictor":
        """Open a .ckpt with its manifest or a .mindir with its card. Sets graph mode.

        Raises:
            UserError: another kind of file, one without its manifest or card, or one that is not what was written.
        """
        path = Path(path)
        if path.suffix not in _OPENERS:
            raise UserError(f"cannot run {path}: expected a checkpoint (.ckpt) or an exported model (.mindir)")
        network, facts, batch_size = _OPENERS[path.suffix](path)
        preprocess = Preprocess.from_dict(facts["preprocess"])
        return cls(_on_arrays(network), preprocess, facts["class_names"], batch_size, facts.get("dataset"))

    def predict(self, images: Iterable[np.ndarray], top_k: int = 5) -> list[list[Prediction]]:
        """Classify images.

        Args:
            images: (H, W, 3) uint8, RGB, of any sizes.
            top_k: how many classes to return; all if there are fewer.

        Returns:
            for each image its most probable classes, the most probable first.
        """
        if top_k < 1:
            raise UserError(f"top_k must be at least 1, got {top_k}")
        results, images = [], iter(images)
        while chunk := [self.preprocess(image) for image in islice(images, self.batch_size or BATCH_SIZE)]:
            results += [self._best(logits, top_k) for logits in self._logits(np.stack(chunk))]
        return results

    def predict_files(self, paths: Iterable[Path], top_k: int = 5) -> Iterator[tuple[Path, list[Prediction]]]:
        """Classify image files batch by batch; yields (path, what `predict` gives for it).

        Raises:
            UserError: names a file that is not an image.
        """
        paths = iter(paths)
        while chunk := list(islice(paths, self.batch_size or BATCH_SIZE)):
            yield from zip(chunk, self.predict(map(read_image, chunk), top_k))

    def predict_validation(
        self, count: int, dataset: str | None = None, data_dir: str | None = None, top_k: int = 5
    ) -> Iterator[tuple[str, str, list[Prediction]]]:
        """Classify `count` images spread over a validation split, by default of the data set that was trained on.

        Yields (where the image comes from, name of its true class, what `predict` gives for it).

        Raises:
            UserError: the data set cannot be opened or has other classes, or the model does not say what it was
                trained on.
        """
        if count < 1:
            raise UserError(f"count must be at least 1, got {count}")
        if dataset is None:
            if self.dataset is None:
                raise UserError("the model does not say which data set it was trained on: name a dataset")
            dataset, data_dir = self.dataset["name"], data_dir or self.dataset["data_dir"]
        source = open_source(dataset, data_dir, "val")
        source.check_classes(self.class_names, "the model")
        chosen = source.spread(count)
        for i, best in zip(chosen, self.predict((source.image(i) for i in chosen), top_k)):
            yield source.describe(i), source.class_names[source.labels[i]], best

    def _logits(self, images: np.ndarray) -> np.ndarray:
        """A batch of any size up to batch_size, filled up with zeros for the network.

        MindSpore compiles a graph for every size of a batch: where any is taken, only powers of two are used.
        """
        count = len(images)
        size = self.batch_size or 1 << (count - 1).bit_length()
        filling = np.zeros((size - count, *images.shape[1:]), np.float32)
        return self.network(np.concatenate([images, filling]))[:count]

    def _best(self, logits: np.ndarray, top_k: int) -> list[Prediction]:
        exponentials = np.exp(logits.astype(np.float64) - logits.max())
        probabilities = exponentials / exponentials.sum()
        best = np.argsort(-probabilities, kind="stable")[:top_k]
        return [Prediction(int(i), self.class_names[i], float(probabilities[i])) for i in best]


def image_paths(paths: Iterable[str | Path]) -> list[Path]:
    """Files as they are given; of a folder all image files at any depth, sorted.

    Raises:
        UserError: a path that does not exist, or a folder without images.
    """
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())
            if not inside:
                raise UserError(f"there is no image in the folder {path} (extensions read: {' '.join(EXTENSIONS)})")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"there is no file or folder {path}")
    return found


def _open_checkpoint(path: Path):
    network, manifest = load_network(path)
    return network, manifest, None


def _open_mindir(path: Path):
    from mindspore import load, nn

    card = read_card(path)
    return nn.GraphCell(load(str(path))), card, card["input"]["shape"][0]


_OPENERS = {".ckpt": _open_checkpoint, ".mindir": _open_mindir}


def read_card(path: Path) -> dict:
    """The card of an exported file, after checking that the file is what was exported.

    Raises:
        UserError: file or card missing, card not readable, or a file of another size or SHA-256.
    """
    if not path.is_file():
        raise UserError(f"there is no exported model {path}: neonext export writes one")
    try:
        card = json.loads(manifest_path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path} has no card {manifest_path(path).name} beside it: export it with neonext export, and keep both "
            "files together"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"the card {manifest_path(path)} cannot be read ({error}): export the model again") from None
    needed = {"file", "preprocess", "class_names", "input"}
    if not isinstance(card, dict) or card.get("format") != CARD_FORMAT or not needed <= set(card):
        raise UserError(f"{manifest_path(path)} is not a card of format {CARD_FORMAT}: export the model again")
    data = path.read_bytes()
    if len(data) != card["file"]["bytes"] or hashlib.sha256(data).hexdigest() != card["file"]["sha256"]:
        raise UserError(f"{path} is not the file that its card describes, it is cut short or changed: export it again")
    return card


def _on_arrays(network) -> Callable[[np.ndarray], np.ndarray]:
    """A Cell as a function of NumPy arrays."""
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE)
    return lambda images: network(ms.Tensor(images)).asnumpy()
