"""Cards of others beside an exported file: read, or refused with the name of the field, in bounded time and memory."""

import hashlib
import json

import pytest

from neonext_ms.checkpoint.description import Description, read_description
from neonext_ms.errors import UserError
from tests.support.cards import CARD, WRONG_CARDS, changed
from tests.support.fuzz import mutants, read_or_refused, wrong_values

DATA = b"a graph"
VALUES = {
    "format": 1,
    "file": {"name": "x.mindir", "bytes": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest()},
    **CARD,
    "input": {"shape": [None, 3, 32, 32], "dtype": "float32"},
    "encryption": None,
}


@pytest.fixture
def model(tmp_path):
    (tmp_path / "x.mindir").write_bytes(DATA)
    return tmp_path / "x.mindir"


def write(model, values):
    model.with_name("x.mindir.json").write_text(json.dumps(values).replace("Infinity", "1e400"))


def test_what_is_beside_a_file(model):
    write(model, VALUES)
    found = read_description(model)
    assert isinstance(found, Description) and found.card.class_names == ("cat", "dog")
    assert (found.shape, found.encrypted) == ((None, 3, 32, 32), False)
    write(model, {**VALUES, "encryption": "AES-GCM"})
    assert read_description(model).encrypted


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        *WRONG_CARDS,
        (("file",), "x", "file must be an object with name, bytes, sha256, got 'x'"),
        (("file", "bytes"), 7.0, "file: bytes must be a whole number, got 7.0"),
        (("file", "sha256"), None, "file: sha256 is missing"),
        (("input", "shape"), [3, 32, 32], "input: shape must be N, c, 32, 32, got [3, 32, 32]"),
        (("input", "shape"), [1, 3, 64, 64], "input: shape must be N, c, 32, 32, got [1, 3, 64, 64]"),
        (("input", "shape"), [1, -3, 32, 32], "input: shape must be N, c, 32, 32"),
        (("input", "shape"), [-1, 3, 32, 32], "must begin with a batch of at least 1 or null, got [-1, 3, 32, 32]"),
        (("input", "shape"), "N3HW", "input: shape must be a list of entries, each a whole number or null"),
        (("encryption",), 5, "encryption must be a text or null, got 5"),
    ],
)
def test_a_field_that_is_not_what_it_should_be_is_named(model, path, value, message):
    write(model, changed(VALUES, path, value))
    with pytest.raises(UserError) as error:
        read_description(model)
    assert f"{model}.json: " in str(error.value) and message in str(error.value) and "\n" not in str(error.value)


def test_cards_of_others(model):
    for wrong in wrong_values(VALUES, seed=1, count=400):
        write(model, wrong)
        read_or_refused(read_description, model)
    for damaged in mutants(json.dumps(VALUES).encode(), seed=2, count=200):
        model.with_name("x.mindir.json").write_bytes(damaged)
        read_or_refused(read_description, model)
