"""Learning rate: linear warm-up, then half a cosine."""

import math


def learning_rate(step: int, total_steps: int, warmup_steps: int, lr: float, min_lr: float) -> float:
    """Learning rate of a step (0-based).

    Warm-up rises linearly and reaches lr in its last step; the cosine falls from lr, and would reach min_lr in the
    step after the last.
    """
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return min_lr + (lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2
