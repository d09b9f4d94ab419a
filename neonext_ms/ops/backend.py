"""Saying once why a layer takes the dense formulation instead of a compiled operator."""

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
