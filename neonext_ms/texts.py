"""Texts that people and programs wrote: read in any usual encoding, and shown so that they forge nothing."""

import codecs
import re
from pathlib import Path

from neonext_ms.errors import UserError
from neonext_ms.files import open_regular

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
# Control characters, line and paragraph separators, and those that turn the direction of what follows; and the halves
# of surrogate pairs, of which those that stand for bytes that are not UTF-8 are apart.
_FORGING = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udc7f\udd00-\udfff"
_BYTES = r"\udc80-\udcff"


def one_line(text: str, keep_bytes: bool = False) -> str:
    """A text as it can be shown: whatever would move, hide or recolour other text stands there as its escape.

    keep_bytes: leave bytes that are not UTF-8 as they are read from the names of files, for writing them again.
    """
    unsafe = f"[{_FORGING}]" if keep_bytes else f"[{_FORGING}{_BYTES}]"
    return re.sub(unsafe, lambda found: _escape(found[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return ascii(character)[1:-1]


def read_text(path: str | Path) -> str:
    """Read a UTF-8 file, or one of UTF-16 or UTF-32 that says so by a byte order mark, which is taken off.

    Raises: UserError: it cannot be read, or is in another encoding.
    """
    try:
        with open_regular(path) as file:
            data = file.read()
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}") from None
    return decode_text(data, str(path))


def decode_text(data: bytes, name: str) -> str:
    """`read_text` for bytes that have been read; name: of what they come from, for messages."""
    mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
    try:
        text = data[len(mark) :].decode(_MARKS.get(mark, "utf-8"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, len(mark) + error.start) + 1
        raise UserError(
            f"line {line} of '{name}' is not {error.encoding} (byte 0x{error.object[error.start]:02x}): save the file "
            "as UTF-8"
        ) from None
    if "\0" in text:
        raise UserError(f"'{name}' holds zero bytes, as UTF-16 without a byte order mark does: save it as UTF-8")
    return text
