"""A run on disk and on the terminal: its folder, checkpoints, reports, resuming and stopping."""
