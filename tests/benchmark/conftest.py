"""Trained networks to measure: those of the tests of deployment."""

from tests.deploy.conftest import checkpoint, exported_onnx  # noqa: F401
