"""NeoNeXt: layers, network, registry."""

from neonext_ms.models.registry import create_model, list_models

__all__ = ["create_model", "list_models"]
