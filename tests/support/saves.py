"""Small checkpoints that say which step they are of, and whether everything readable of them is right."""

import numpy as np

from neonext_ms.checkpoint.store import load_checkpoint, numbered
from neonext_ms.errors import UserError
from neonext_ms.training.run.folder import RunFolder
from neonext_ms.training.run.resume import newest
from tests.support.cards import CARD


def parameters(step: int) -> tuple[dict, dict]:
    """Weights and state that say which step they are of; three sizes, the largest of several disk blocks."""
    sizes = {"a": (), "b": (7, 3), "c": (40, 1000)}
    return ({f"{kind}.{n}": np.full(s, step, np.float32) for n, s in sizes.items()} for kind in ("weight", "state"))


def save(folder: RunFolder, step: int):
    """A checkpoint of this step, which is also the best."""
    weights, state = parameters(step)
    card = {**CARD, "epoch": 1, "step": step, "training": {"step": step}}
    folder.save(weights, state, card, best=(weights, card))
    folder.log("train", step=step)


def check(folder: RunFolder) -> tuple[int, int]:
    """Steps of the newest checkpoint and of the best, after checking everything that can be read."""
    for path in numbered(folder.checkpoints):
        try:
            found = load_checkpoint(path)
        except UserError:
            continue
        step = found.manifest["step"]
        assert path.name == f"pico-1_{step}.ckpt"
        assert all((value == step).all() for value in (*found.weights.values(), *found.state.values())), path
    last = newest(folder.checkpoints)
    best = 0
    if folder.best.exists():
        found = load_checkpoint(folder.best)
        best = found.manifest["step"]
        assert all((value == best).all() for value in found.weights.values())
    return last.manifest["step"] if last else 0, best
