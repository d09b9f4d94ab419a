"""A trained model on disk: its weights, what describes them, and the network that it was saved from."""
