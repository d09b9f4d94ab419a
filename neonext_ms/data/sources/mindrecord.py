"""MindRecord files, read without MindSpore: the SQLite index beside each says where in it every image file lies."""

import json
import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from operator import index
from pathlib import Path
from urllib.parse import quote

from neonext_ms.errors import UserError
from neonext_ms.files import open_regular

_LENGTH = struct.Struct("<Q")  # stands before the bytes of every field in a MindRecord page
_QUERY = (
    "SELECT PAGE_ID_BLOB, PAGE_OFFSET_BLOB, PAGE_OFFSET_BLOB_END, label_0, path_0 FROM INDEXES ORDER BY ROW_ID LIMIT ?"
)


def mindrecord_rows(file: Path, classes: int, most: int) -> Iterator[tuple[int, int, int, str]]:
    """For each sample of a MindRecord file: first byte and length of its image file, label, path it was packed from.

    Args:
        file: the MindRecord file, beside which its index lies.
        classes: of the data set; labels are below.
        most: samples expected; one more is read at most.
    Raises: UserError: file or index are not what MindRecord makes, or point beyond the file.
    """
    try:
        with open_regular(file) as stream, open_regular(f"{file}.db"):  # the index too: SQLite would wait for a pipe
            size = os.fstat(stream.fileno()).st_size
            header = json.loads(stream.read(min(size, _LENGTH.unpack(stream.read(_LENGTH.size))[0])))
        header_size, page_size = header["header_size"], header["page_size"]
        name = quote(os.fsencode(Path(f"{file}.db").resolve()))
        with closing(sqlite3.connect(f"file:{name}?mode=ro", uri=True)) as database:
            # It may be anybody's: no functions of its own, no endless query, no value that fills the memory.
            database.execute("PRAGMA trusted_schema=OFF")
            if hasattr(database, "setlimit"):  # from Python 3.11 on
                database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1 << 20)
            budget = iter(range(most + 100))
            database.set_progress_handler(lambda: next(budget, None) is None, 100)
            for *numbers, path in database.execute(_QUERY, (most + 1,)):
                page, start, end, label = map(index, numbers)
                first = header_size + page * page_size + start + _LENGTH.size
                length = end - start - _LENGTH.size
                if not (0 <= first <= size and 0 <= length <= size - first and 0 <= label < classes):
                    raise ValueError(f"the sample '{path}' lies outside, or has the label {label}")
                yield first, length, label, path + ""
    except (OSError, ValueError, LookupError, TypeError, RecursionError, struct.error, sqlite3.Error) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"cannot read '{file}' and the index beside it ({reason}): copy both, or pack it again"
        ) from None
