"""What a trained model says about itself: its network, its preprocessing, its classes, the data it was trained on."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import get_type_hints

from neonext_ms.checkpoint.fields import check_type, read_fields
from neonext_ms.data import Preprocess, Source, open_source
from neonext_ms.data.channels import RGB
from neonext_ms.errors import UserError

LARGEST_SIDE = 1 << 14  # pixels of an image


@dataclass(frozen=True)
class Model:
    """What `create_model` builds the network from; num_classes is K."""

    name: str
    num_classes: int
    overrides: dict


@dataclass(frozen=True)
class DatasetName:
    """What `open_source` opens."""

    name: str
    data_dir: str | None


@dataclass(frozen=True)
class ModelCard:
    """A trained model's description, the same in a checkpoint's manifest and beside an exported file.

    Args:
        model: name, num_classes and overrides.
        preprocess: from an image to the network's input.
        class_names: K names, in the order of the logits.
        dataset: that it was trained on; None if that is not known.
        source: the file that it describes, for messages.
        threshold: probability (sigmoid of a logit) above which a class is said to be in an image; None where each image
            has one class, and probabilities are their softmax.

    Raises:
        UserError: the parts do not fit together.
    """

    model: Model
    preprocess: Preprocess
    class_names: tuple[str, ...]
    dataset: DatasetName | None
    source: str = field(default="the model", compare=False)
    threshold: float | None = None

    def __post_init__(self):
        names, classes = len(self.class_names), self.model.num_classes
        if names != classes:
            raise UserError(f"class_names has {names} names, but the model has {classes} classes")
        channels = self.model.overrides.get("in_chans", RGB)
        if channels != self.preprocess.channels:
            means = self.preprocess.channels
            raise UserError(f"mean and std have {means} numbers, but the model takes images of {channels!r} channels")
        if self.preprocess.image_size > LARGEST_SIDE:
            raise UserError(f"image_size must be at most {LARGEST_SIDE}, got {self.preprocess.image_size}")
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise UserError(f"threshold must be above 0 and below 1, got {self.threshold}")

    @classmethod
    def from_dict(cls, values: dict, source: str, where: str | None = None) -> "ModelCard":
        """Read what `to_dict` made, or a manifest that has more beside it.

        Args:
            values: from JSON.
            source: the file that is described.
            where: the file that these values stand in, if it is another.

        Raises:
            UserError: names the first field that is missing or not what it should be.
        """
        known = {key: values[key] for key in ("model", "preprocess", "class_names") if key in values}
        optional = {key: values.get(key) for key in ("dataset", "threshold")}
        return read_fields(cls, {**known, **optional, "source": source}, where or source)

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        return {
            "model": asdict(self.model),
            "preprocess": self.preprocess.to_dict(),
            "class_names": list(self.class_names),
            "dataset": self.dataset and asdict(self.dataset),
            **({} if self.threshold is None else {"threshold": self.threshold}),
        }

    def with_image_size(self, side: int) -> "ModelCard":
        """The same for images of another size."""
        return replace(self, preprocess=replace(self.preprocess, image_size=side))

    def spec(self):
        """The network's structure, a `NeoNeXtSpec`.

        Raises:
            UserError: there is no such network.
        """
        return model_structure(self.model, f"{self.source}: model: ", "overrides: ")

    def build(self, **overrides):
        """The network with fresh weights.

        Args:
            overrides: arguments of `create_model` that do not change the weights, such as backend.

        Raises:
            UserError: there is no such network.
        """
        from neonext_ms.models import create_model

        self.spec()
        return create_model(
            self.model.name, self.model.num_classes, seed=0, **{**self.model.overrides, **overrides}
        ).set_train(False)

    def validation_source(self, dataset: str | None = None, data_dir: str | None = None) -> Source:
        """`validation_source` for this model."""
        return validation_source(self.dataset, self.class_names, self.source, dataset, data_dir)


def model_structure(model: Model, where: str, overrides: str):
    """The `NeoNeXtSpec` of a model, all of whose blocks can be made.

    Args:
        model: as a user or a file has it.
        where, overrides: for messages, where the model and in it the overrides stand.

    Raises:
        UserError: there is no such network; names the field.
    """
    from neonext_ms.models.registry import model_spec
    from neonext_ms.models.spec import NeoNeXtSpec

    hints = get_type_hints(NeoNeXtSpec)
    values = {}
    for key, value in model.overrides.items():
        if key not in hints:
            raise UserError(f"{where}{overrides}{key!r} is not known; it has {', '.join(hints)}")
        values[key] = check_type(value, hints[key], f"{where}{overrides}{key}")
    try:
        spec = model_spec(model.name, **values)
        for stage in range(len(spec.depths)):
            spec.stage_groups(stage)
    except ValueError as error:
        raise UserError(f"{where}{error}") from None
    return spec


def validation_source(
    own: DatasetName | None, class_names: Sequence[str], model: str, dataset: str | None, data_dir: str | None
) -> Source:
    """The validation split of a data set, by default of the one that a model was trained on.

    Args:
        own: that data set, if it is known.
        class_names: of the model.
        model: for messages.
        dataset: to open instead.
        data_dir: where it is; of the model's own the place where it was in training, if null.

    Raises:
        UserError: it cannot be opened, has other classes or another order of them, or none is named and the model does
            not know its own.
    """
    if dataset is None:
        if own is None:
            raise UserError(f"{model} does not say which data set it was trained on: name a dataset")
        dataset, data_dir = own.name, data_dir or own.data_dir
    source = open_source(dataset, data_dir, "val")
    source.check_classes(class_names, model)
    return source
