"""Predictions as text: for people, as JSON lines, as CSV."""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from neonext_ms.deploy.classifier import Result
from neonext_ms.errors import UserError
from neonext_ms.files import write_atomically
from neonext_ms.terminal import printable
from neonext_ms.texts import to_json


def as_dict(result: Result) -> dict:
    """image, classes [{index, name, probability}], error, note, label."""
    return {**result._asdict(), "classes": [prediction._asdict() for prediction in result.classes]}


def formatted(results: Iterable[Result], form: str, top_k: int) -> Iterator[str]:
    """Lines, without their ends, one for each result as it comes; CSV begins with a header."""
    if form == "csv":
        ranks = [f"{what}_{rank}" for rank in range(1, top_k + 1) for what in ("name", "probability")]
        yield _csv_line(["image", "label", "error", "note", *ranks])
    for result in results:
        if form == "csv":
            classes = [value for p in result.classes for value in (p.name, f"{p.probability:.6g}")]
            classes += [""] * (2 * top_k - len(classes))
            yield _csv_line([result.image, result.label or "", result.error or "", result.note or "", *classes])
        elif form == "jsonl":
            yield to_json(as_dict(result))
        else:
            yield _text(result)


def write_lines(path: Path, lines: Iterable[str]):
    """A file that appears when it is complete.

    Raises:
        UserError: it exists already, or cannot be written.
    """
    if path.exists():
        raise UserError(f"{path} exists already and is not overwritten: choose another output or remove it")
    try:
        write_atomically(path, (f"{line}\n".encode(errors="surrogateescape") for line in lines))
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): choose another output") from None


def _text(result: Result) -> str:
    classes = ", ".join(f"{p.name} {100 * p.probability:.1f} %" for p in result.classes)
    remarks = [f"label: {result.label}"] if result.label is not None else []
    remarks += [result.note] if result.note else []
    said = result.error or classes or "none of the classes"
    return printable(f"{result.image}: {said}" + (f"  ({'; '.join(remarks)})" if remarks else ""))


def _csv_line(values: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(values)  # both of which the writer then quotes within a value
    return out.getvalue().removesuffix("\r\n")
