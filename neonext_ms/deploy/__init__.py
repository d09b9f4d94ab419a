"""From a checkpoint to inference: folding, verified export to MindIR and ONNX, and a classifier for all of them."""

from neonext_ms.checkpoint.network import load_features
from neonext_ms.deploy.classifier import Classifier, Prediction, Result
from neonext_ms.deploy.export.export import export_model
from neonext_ms.deploy.image_files import image_paths

__all__ = ["Classifier", "Prediction", "Result", "export_model", "image_paths", "load_features"]
