"""Weights from the authors' PyTorch networks, and back."""
