"""The compiled operators of a CPU."""
