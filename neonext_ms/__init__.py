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
    checks, files, terminal
    errors, lazy
"""

from typing import TYPE_CHECKING

from neonext_ms.lazy import lazy

if TYPE_CHECKING:
    from neonext_ms.checkpoint.pretrained import create_model as create_model
    from neonext_ms.models import list_models as list_models
    from neonext_ms.ops import NeoCell as NeoCell
    from neonext_ms.ops.precision import set_matmul_precision as set_matmul_precision

__version__ = "0.1.0"

_LAZY = {
    "NeoCell": "neonext_ms.ops",
    "create_model": "neonext_ms.checkpoint.pretrained",
    "list_models": "neonext_ms.models",
    "set_matmul_precision": "neonext_ms.ops.precision",
}
__all__ = ["__version__", *_LAZY]
__getattr__, __dir__ = lazy(globals(), _LAZY)
