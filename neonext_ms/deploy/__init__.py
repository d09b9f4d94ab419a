"""From a checkpoint to inference: verified MindIR export, and a predictor for both."""

from neonext_ms.deploy.export import export_mindir
from neonext_ms.deploy.infer import Prediction, Predictor, image_paths

__all__ = ["Prediction", "Predictor", "export_mindir", "image_paths"]
