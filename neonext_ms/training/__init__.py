"""Training: configuration, optimiser, step, checkpoints, run folder, trainer."""
