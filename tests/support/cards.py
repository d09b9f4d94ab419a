"""What a checkpoint says about a model, for tests that do not look at it."""

from neonext_ms.data import Preprocess

CARD = {
    "model": {"name": "neonext_pico", "num_classes": 2, "overrides": {}},
    "preprocess": Preprocess(32, (0.5,) * 3, (0.25,) * 3).to_dict(),
    "class_names": ["cat", "dog"],
    "dataset": None,
}
# (path to a field, what it is changed to, what the message says). None: the field is left out.
WRONG_CARDS = [
    (("class_names",), ["cat"], "class_names has 1 names, but the model has 2 classes"),
    (("class_names",), "ab", "class_names must be a list of entries, each a text, got 'ab'"),
    (("class_names",), ["cat", 3], "class_names must be a list of entries, each a text, got ['cat', 3]"),
    (("class_names",), None, "class_names is missing"),
    (("model",), ["neonext_pico"], "model must be an object with name, num_classes, overrides"),
    (("model", "name"), 7, "model: name must be a text, got 7"),
    (("model", "num_classes"), "2", "model: num_classes must be a whole number, got '2'"),
    (("model", "num_classes"), 2.0, "model: num_classes must be a whole number, got 2.0"),
    (("model", "num_classes"), True, "model: num_classes must be a whole number, got True"),
    (("model", "num_classes"), 10**400, "model: num_classes must be a whole number, got 1"),
    (("model", "overrides"), [], "model: overrides must be an object, got []"),
    (("model", "overrides"), {"in_chans": 4}, "mean and std have 3 numbers, but the model takes images of 4 channels"),
    (("model", "weights"), 1, "model: 'weights' is not known; there are name, num_classes, overrides"),
    (("preprocess", "image_size"), -32, "preprocess: image_size must be an integer of at least 1, got -32"),
    (("preprocess", "image_size"), 10**9, "image_size must be at most 16384"),
    (("preprocess", "mean"), [0.5, 0.5], "preprocess: mean and std must have a number for each channel, got (0.5,"),
    (("preprocess", "mean"), ["a", 0, 0], "preprocess: mean must be a list of entries, each a number"),
    (("preprocess", "std"), [0.5, 0.5, 1e400], "preprocess: std must be a list of entries, each a number"),
    (("preprocess", "std"), [0.5, 0.5, 0], "preprocess: std must be positive"),
    (("preprocess", "crop_pct"), "0.9", "preprocess: crop_pct must be a number, got '0.9'"),
    (("preprocess", "interpolation"), ["bicubic"], "preprocess: interpolation must be a text, got ['bicubic']"),
    (("preprocess", "interpolation"), "a\nb", "preprocess: unknown interpolation"),
    (("dataset",), "digits", "dataset must be an object with name, data_dir, got 'digits'"),
    (("dataset",), {"name": "folder", "data_dir": 5}, "dataset: data_dir must be a text or null, got 5"),
]
WRONG_OVERRIDES = [
    ({"depths": 3}, "depths must be a list of entries, each a whole number, got 3"),
    ({"depths": "11"}, "depths must be a list of entries, each a whole number, got '11'"),
    ({"dims": [8, 16.5, 3, 3]}, "dims must be a list of entries, each a whole number"),
    ({"dims": [32, 64, 128, -256]}, "at least one block and one channel"),
    ({"kernels": ["4+7", "4+7", "7", "x"]}, "a block spec is block sizes joined by '+'"),
    ({"kernels": ["4+7", "4+7", "7", "7" * 5000]}, "model: "),
    ({"shifts": [9, 1, 1, 0]}, "must be smaller than the block size"),
    ({"linear_bias": 1}, "linear_bias must be true or false, got 1"),
    ({"layer_scale": [1]}, "layer_scale must be a number, got [1]"),
    ({"backend": "fused"}, "'backend' is not known"),
]


def changed(values: dict, path: tuple[str, ...], value) -> dict:
    """A copy with another value at a path of keys; None leaves the last key out."""
    first, *rest = path
    if rest:
        return {**values, first: changed(values[first], tuple(rest), value)}
    return {key: old for key, old in values.items() if key != first} | ({} if value is None else {first: value})
