"""The key of encrypted exports. It is never an argument of a command: those are seen by every user of a machine."""

import os
from pathlib import Path

from neonext_ms.errors import UserError

VARIABLE = "NEONEXT_KEY"
_SIZES = (16, 24, 32)


def read_key(file: str | Path | None = None) -> bytes:
    """The AES key, 16, 24 or 32 bytes, written as hexadecimal digits.

    Args:
        file: that holds it; None for the environment variable NEONEXT_KEY.

    Raises:
        UserError: there is none, or what there is is not a key; never shows it.
    """
    where = f"the key file {file}" if file else f"the environment variable {VARIABLE}"
    try:
        text = Path(file).read_text(encoding="ascii") if file else os.environ.get(VARIABLE, "")
        key = bytes.fromhex(text)
    except OSError as error:
        raise UserError(f"cannot read {where} ({error.strerror})") from None
    except ValueError:
        key = b"?"
    if not key:
        raise UserError(f"{where} is empty: put a key into it, such as openssl rand -hex 32 writes, or use a key file")
    if len(key) not in _SIZES:
        raise UserError(
            f"{where} does not hold a key: it takes 32, 48 or 64 hexadecimal digits, as from openssl rand -hex 32"
        )
    return key
