"""Inference from a checkpoint and from exported files: the same answers, from the same preprocessing."""

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from PIL import Image

from neonext_ms.checkpoint.network import load_network
from neonext_ms.data import open_source
from neonext_ms.deploy import Classifier, export_model
from neonext_ms.deploy.opening import open_model
from neonext_ms.errors import UserError


@pytest.fixture(scope="session")
def by_checkpoint(checkpoint):
    return Classifier.open(checkpoint)


def expected_probabilities(checkpoint, preprocess, images):
    """(n, 10) float64, from the network by hand."""
    network, _ = load_network(checkpoint)
    logits = network(ms.Tensor(np.stack([preprocess(image) for image in images]))).asnumpy().astype(np.float64)
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


@pytest.mark.parametrize("kind", ["checkpoint", 2, None, "onnx"])
def test_probabilities_are_those_of_the_network(
    kind, checkpoint, exported, exported_onnx, by_checkpoint, preprocess, images
):
    """Three images: one more than the file with a batch of 2 takes at once."""
    if kind == "checkpoint":
        classifier = by_checkpoint
    else:
        classifier = Classifier.open(exported_onnx[0] if kind == "onnx" else exported[kind][0])
    expected = expected_probabilities(checkpoint, preprocess, images)
    results = classifier.predict(images, top_k=10)
    assert len(results) == 3
    for result, probabilities in zip(results, expected):
        assert [p.index for p in result] == list(np.argsort(-probabilities))
        np.testing.assert_allclose([p.probability for p in result], -np.sort(-probabilities), rtol=1e-4)
        assert [p.name for p in result] == [str(p.index) for p in result]


def test_products_in_bfloat16_are_near_and_not_the_same(by_checkpoint, checkpoint, images, monkeypatch):
    """Asked for by the argument or the environment; and not by what was opened before."""
    exact, brief = (
        [p.probability for p in sorted(classifier.predict(images[:1], 10)[0])]
        for classifier in (by_checkpoint, Classifier.open(checkpoint, matmul_precision="bfloat16"))
    )
    assert 1e-5 < np.abs(np.subtract(exact, brief)).max() < 0.02
    monkeypatch.setenv("NEONEXT_MATMUL_PRECISION", "bfloat16")
    for precision, expected in ((None, brief), ("highest", exact)):
        classifier = Classifier.open(checkpoint, matmul_precision=precision)
        assert [p.probability for p in sorted(classifier.predict(images[:1], 10)[0])] == expected


def test_an_exported_file_takes_the_batch_that_it_was_exported_for(exported):
    assert [open_model(exported[size][0]).batch_size for size in (2, None)] == [2, None]
    with pytest.raises(UserError, match="exported for a batch_size of 2, got 3"):
        Classifier.open(exported[2][0], batch_size=3)


def test_an_exported_file_has_its_own_precision(exported):
    with pytest.raises(UserError, match="is not a checkpoint: matmul_precision is for those"):
        Classifier.open(exported[None][0], matmul_precision="highest")


def test_more_images_than_a_batch_keep_their_order(by_checkpoint, images):
    one_by_one = [by_checkpoint.predict([image], 1)[0] for image in images]
    assert len({result[0].probability for result in one_by_one}) == 3
    many = by_checkpoint.predict(images * 13, 1)
    assert len(many) == 39
    np.testing.assert_allclose(
        [result[0].probability for result in many], [r[0].probability for r in one_by_one] * 13, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("batch_size", "count", "sizes"),
    [
        ({"fixed_batch": 2}, 3, [2, 2]),
        ({}, 3, [4]),
        ({}, 1, [1]),
        ({}, 39, [32, 8]),
        ({"fixed_batch": 40}, 3, [40]),
        ({"batch_size": 5}, 14, [8, 8, 4]),
    ],
)
def test_the_network_gets_the_batch_sizes_that_it_was_compiled_for(preprocess, images, batch_size, count, sizes):
    seen = []

    def network(x):
        seen.append(len(x))
        return np.stack([x.mean((1, 2, 3)), np.zeros(len(x))], 1)

    classifier = Classifier(network, preprocess, ["bright", "dark"], **batch_size)
    inputs = (images * 13)[:count]
    results = classifier.predict(inputs, 2)
    assert seen == sizes
    means = [preprocess(image).mean() for image in inputs]
    assert [result[0].name for result in results] == ["bright" if mean > 0 else "dark" for mean in means]


def test_top_k_is_at_most_all_classes(by_checkpoint, images):
    assert [len(by_checkpoint.predict(images[:1], k)[0]) for k in (1, 5, 10, 11)] == [1, 5, 10, 10]
    assert by_checkpoint.predict([]) == []
    with pytest.raises(UserError, match="top_k must be an integer of at least 1, got 0"):
        by_checkpoint.predict(images, 0)


def test_files_are_classified_like_their_pixels(by_checkpoint, images, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, image in zip(paths, images):
        Image.fromarray(image).save(path)
    results = list(by_checkpoint.predict_files(paths, 2))
    assert [result.image for result in results] == [str(path) for path in paths]
    assert [result.classes for result in results] == by_checkpoint.predict(images, 2)
    assert by_checkpoint.predict([paths[0], images[1], str(paths[2])], 2) == by_checkpoint.predict(images, 2)


def test_one_image_alone_and_images_of_pillow(preprocess, images, tmp_path):
    """Without a network to wait for: the first value of the input says which image it was."""
    classifier = Classifier(lambda x: np.stack([x[:, 0, 0, 0], 0 * x[:, 0, 0, 0]], 1), preprocess, ["a", "b"])
    Image.fromarray(images[0]).save(tmp_path / "x.png")
    (expected,) = classifier.predict([images[0]])
    grey = Image.fromarray(images[0]).convert("L")
    for one in (str(tmp_path / "x.png"), tmp_path / "x.png", images[0], Image.fromarray(images[0]), [grey]):
        assert classifier.predict(one) == [expected]
    many = [np.full((40, 50, 3), value, np.uint8) for value in (0, 255)]
    assert classifier.predict(np.stack(many)) == classifier.predict(many)


def test_grey_and_one_image_alone_are_taken(by_checkpoint, images):
    grey = images[0][..., 0]  # the digits are grey: three equal channels
    expected = by_checkpoint.predict(images[:1], 1)
    for one in (grey, grey[..., None], Image.fromarray(grey), images[0], [grey]):
        assert by_checkpoint.predict(one, np.int64(1)) == expected
    with pytest.raises(UserError, match="image 1 must be a file, .*, got a int"):
        by_checkpoint.predict(7)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 32, 32), np.uint8), r"got \(3, 32, 32\) uint8"),
        (np.zeros((32, 32, 2), np.uint8), r"got \(32, 32, 2\) uint8"),
        (np.zeros((32, 32, 3), np.float32), r"got \(32, 32, 3\) float32"),
        (np.zeros((0, 32, 3), np.uint8), r"got \(0, 32, 3\) uint8"),
        (7, "got a int"),
        (Image.new("F", (9, 9)), "floating-point"),
    ],
)
def test_what_is_no_image_is_named_by_its_number(preprocess, images, image, message):
    classifier = Classifier(lambda x: np.zeros((len(x), 2)), preprocess, ["a", "b"])
    with pytest.raises(UserError, match=f"image 2.*{message}"):
        classifier.predict([images[0], image])
    if isinstance(image, np.ndarray):
        with pytest.raises(UserError, match=f"image 1 must be a file, .*{message}"):
            classifier.predict(image)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 32, 32, 3), (1, 3, 64, 64)])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.float64])
def test_inputs_of_another_shape_or_type_are_refused(preprocess, shape, dtype):
    classifier = Classifier(lambda x: np.zeros((len(x), 2)), preprocess, ["a", "b"])
    with pytest.raises(UserError, match=r"takes \(N, 3, 32, 32\) float32, got "):
        classifier.logits(np.zeros(shape, dtype))


def test_a_file_that_is_not_an_image_is_named(by_checkpoint, tmp_path):
    (tmp_path / "x.png").write_text("not an image")
    with pytest.raises(UserError, match="x.png"):
        by_checkpoint.predict([tmp_path / "x.png"])


def test_batches_stay_full_and_in_order_around_files_that_cannot_be_read(preprocess, images, tmp_path):
    sizes = []

    def network(x):
        sizes.append(len(x))
        return np.stack([x.mean((1, 2, 3)), np.zeros(len(x))], 1)

    (tmp_path / "bad.png").write_text("not an image")
    for i in range(3):
        Image.fromarray(images[i]).save(tmp_path / f"{i}.png")
    names = ["bad", "0", "bad", "1", "2", "bad", "0", "bad"]
    classifier = Classifier(network, preprocess, ["bright", "dark"], fixed_batch=2)
    results = list(classifier.predict_files([tmp_path / f"{name}.png" for name in names], 1))
    assert sizes == [2, 2]
    assert [Path(result.image).stem for result in results] == names
    assert [result.error is not None for result in results] == [name == "bad" for name in names]
    assert results[1].classes == results[6].classes != results[3].classes


def test_outputs_that_are_no_numbers_are_no_answer(preprocess, images, tmp_path):
    """As from a network whose half precision overflows."""

    def network(x):
        return np.array([[0.0, 1.0], [np.nan, 1.0], [np.inf, 1.0]], np.float32)

    classifier = Classifier(network, preprocess, ["a", "b"], fixed_batch=3)
    with pytest.raises(UserError, match="image 2: the network's outputs are not finite"):
        classifier.predict(images)
    for i in range(3):
        Image.fromarray(images[i]).save(tmp_path / f"{i}.png")
    results = list(classifier.predict_files([tmp_path / f"{i}.png" for i in range(3)]))
    assert [bool(result.error) for result in results] == [False, True, True]
    assert [len(result.classes) for result in results] == [2, 0, 0]


def test_batch_sizes_that_do_not_fit_are_refused(preprocess):
    for options, message in (({"batch_size": 0}, "at least 1"), ({"fixed_batch": 2, "batch_size": 3}, "of 2, got 3")):
        with pytest.raises(UserError, match=message):
            Classifier(None, preprocess, ["a"], **options)


def test_a_changed_file_is_refused(exported, tmp_path):
    data = exported[2][0].read_bytes()
    (tmp_path / "two.mindir.json").write_bytes((exported[2][0].parent / "two.mindir.json").read_bytes())
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    for changed in (data[:-1], bytes(flipped)):
        (tmp_path / "two.mindir").write_bytes(changed)
        with pytest.raises(UserError, match="two.mindir is not the file that its card describes"):
            Classifier.open(tmp_path / "two.mindir")


@pytest.mark.parametrize(
    ("name", "card", "message"),
    [
        ("x.mindir", None, "no card x.mindir.json beside it"),
        ("x.mindir", "{", "x.mindir.json cannot be read"),
        ("x.mindir", '{"format": 2}', "x.mindir.json is not a card of format 1"),
        ("x.mindir", '{"format": 1}', "x.mindir.json: model is missing"),
        ("gone.mindir", None, "no exported model .*gone.mindir"),
        ("gone.ckpt", None, "no checkpoint .*gone.ckpt"),
        ("gone.onnx", None, "no exported model .*gone.onnx"),
        ("x.pb", None, "cannot run .*x.pb: expected a checkpoint"),
    ],
)
def test_what_cannot_be_opened_is_refused_in_one_line(tmp_path, name, card, message):
    (tmp_path / "x.mindir").write_bytes(b"?")
    if card:
        (tmp_path / "x.mindir.json").write_text(card)
    with pytest.raises(UserError, match=message) as error:
        Classifier.open(tmp_path / name)
    assert "\n" not in str(error.value)


def test_validation_images_come_with_their_labels(by_checkpoint):
    source = open_source("digits", None, "val")
    rows = list(by_checkpoint.predict_validation(3, top_k=1))
    assert [(row.image, row.label) for row in rows] == [
        (f"digits/val[{i}]", source.class_names[source.labels[i]]) for i in (0, 120, 240)
    ]
    assert [row.classes for row in rows] == by_checkpoint.predict([source.image(i) for i in (0, 120, 240)], 1)
    with pytest.raises(UserError, match="count must be an integer of at least 1"):
        next(by_checkpoint.predict_validation(0))


def test_an_encrypted_file_needs_its_key(checkpoint, images, tmp_path, monkeypatch, capfd):
    path, key = tmp_path / "x.mindir", bytes(range(16))
    export_model(checkpoint, path, batch_size=None, key=key)
    expected = Classifier.open(checkpoint).predict(images, 1)
    monkeypatch.setenv("NEONEXT_KEY", key.hex())
    for classifier in (Classifier.open(path), Classifier.open(path, key)):
        assert [best.index for (best,) in classifier.predict(images, 1)] == [best.index for (best,) in expected]
    with pytest.raises(UserError, match="cannot open .*x.mindir: this is not its key"):
        Classifier.open(path, bytes(16))
    assert capfd.readouterr().err == "", "what MindSpore has to say to it is not ours"
    monkeypatch.delenv("NEONEXT_KEY")
    with pytest.raises(UserError, match="x.mindir is encrypted, and .* NEONEXT_KEY is empty"):
        Classifier.open(path)


def test_images_of_other_classes_are_refused(by_checkpoint, tmp_path):
    for name in ("cat", "dog"):
        for split in ("train", "val"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (40, 40)).save(tmp_path / split / name / "0.png")
    with pytest.raises(UserError, match="10 classes .*, but .* has 2, cat, dog"):
        next(by_checkpoint.predict_validation(1, "folder", str(tmp_path)))
