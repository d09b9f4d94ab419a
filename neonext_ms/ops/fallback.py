"""Why there is no compiled operator, said once."""

import logging

log = logging.getLogger(__name__)
_given = set()


class Unavailable(Exception):
    """There is no compiled operator here; the message is the reason."""


def warn_fallback(reason: str):
    """Warn that NeoCell takes the dense formulation; a reason that was given before is not repeated."""
    if reason not in _given:
        _given.add(reason)
        log.warning("NeoCell falls back to the slower dense backend: %s", reason)
