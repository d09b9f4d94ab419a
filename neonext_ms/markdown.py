"""Tables in Markdown, and their place in a file: written by one function, read by people and by a browser."""

from collections.abc import Sequence
from pathlib import Path

from neonext_ms.errors import UserError
from neonext_ms.files import write_atomically


def table(rows: Sequence[Sequence[str]], right: bool = False) -> str:
    """Rows of text, the first of them the heads of the columns; with `right` all columns but the first stand right."""
    widths = [max(2, *map(len, column)) for column in zip(*rows)]
    lines = [
        [cell.rjust(width) if right and i else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths))]
        for row in rows
    ]
    lines.insert(1, ["-" * (width - 1) + ":" if right and i else "-" * width for i, width in enumerate(widths)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def replace_between_marks(path: Path, name: str, text: str):
    """Put text between the two marks of a name in a Markdown file; all around them stays.

    Raises:
        UserError: the file or one of the marks is missing.
    """
    try:
        before = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
    first, last = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    above, begin, rest = before.partition(first)
    _, end, below = rest.partition(last)
    if not begin or not end:
        raise UserError(f"{path} has no place for the {name} table: add the lines {first} and {last}")
    write_atomically(path, f"{above}{first}\n{text}\n{last}{below}")
