"""A trained network with its constants multiplied together."""
