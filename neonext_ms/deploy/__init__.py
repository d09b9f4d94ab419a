"""From a checkpoint to inference: folding, verified export to MindIR and ONNX, and a predictor for all of them."""

from neonext_ms.deploy.export import export_model
from neonext_ms.deploy.infer import Prediction, Predictor, image_paths

__all__ = ["Prediction", "Predictor", "export_model", "image_paths"]
