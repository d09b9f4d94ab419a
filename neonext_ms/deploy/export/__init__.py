"""Checkpoints to MindIR and ONNX, verified."""
