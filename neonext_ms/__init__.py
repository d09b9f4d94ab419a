"""NeoNeXt in MindSpore: the NeoCell operator, the models built on it, their training and their deployment.

Importing this package loads nothing heavy; MindSpore is imported when a network is first touched.

The rooms by floors. A module imports from its own room and from the floors below, nowhere else; tests/test_imports.py
reads this drawing and checks it.

    cli
    commands
    benchmark
    analysis, examples
    deploy, training
    evaluation
    checkpoint
    models
    data, launch, ops
    markdown, runtime
    texts
    files, terminal
    errors
"""

from importlib import import_module

__version__ = "0.1.0"

_LAZY = {
    "NeoCell": "neonext_ms.ops",
    "create_model": "neonext_ms.checkpoint.pretrained",
    "list_models": "neonext_ms.models",
    "set_matmul_precision": "neonext_ms.ops.precision",
}
__all__ = ["__version__", *_LAZY]


def __getattr__(name):
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
