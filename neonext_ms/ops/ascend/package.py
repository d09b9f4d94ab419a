"""Where the AscendC operators of `ascend_kernels/` are installed on this machine."""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from neonext_ms.ops.fallback import Unavailable

OPERATORS = (
    "NeoCell",
    "NeoCellKron",
    "NeoCellGrad",
    "Pointwise",
    "PointwiseGelu",
    "PointwiseGeluKept",
    "PointwiseResidual",
    "PointwiseMlp",
    "PointwiseInputGrad",
    "PointwiseGeluGrad",
    "PointwiseWeightGrad",
)


def ascend_package(chip: str, environment=os.environ) -> Path:
    """Folder of the installed operators.

    Args:
        chip: the NPU's name, such as "Ascend910B2" or "Ascend910_9392".
        environment: where ASCEND_CUSTOM_OPP_PATH is looked up, and ASCEND_OPP_PATH for a package in CANN itself.

    Raises:
        Unavailable: a chip that the operators are not for, or no package with all operators for this chip.
    """
    # The first generation has names such as Ascend910A and Ascend910B, without a digit.
    if re.match(r"Ascend910B\d", chip):
        family = "ascend910b"
    elif chip.startswith("Ascend910_93"):
        family = "ascend910_93"
    else:
        raise Unavailable(f"the AscendC operators are for Ascend 910B and 910_93, and this is {chip}")
    folders = [Path(folder) for folder in environment.get("ASCEND_CUSTOM_OPP_PATH", "").split(":") if folder]
    if environment.get("ASCEND_OPP_PATH"):
        folders += sorted(Path(environment["ASCEND_OPP_PATH"]).glob("vendors/*/"))
    for folder in folders:
        # The list of operators that MindSpore, too, looks them up in.
        listed = folder / "op_impl/ai_core/tbe/config" / family / f"aic-{family}-ops-info.json"
        try:
            names = json.loads(listed.read_text())
        except (OSError, ValueError):
            continue
        if all(name in names for name in OPERATORS) and (folder / "op_api/lib/libcust_opapi.so").exists():
            return folder
    raise Unavailable(
        f"the AscendC operators are not installed for {family}: run `bash ascend_kernels/build.sh` and export "
        "ASCEND_CUSTOM_OPP_PATH as its last line says"
    )


def missing_for_operators(environment: Mapping[str, str] = os.environ, which: Callable = shutil.which) -> str:
    """Why MindSpore could not call the project's AscendC operators, in one line, or ""; it compiles their binding."""
    if not environment.get("ASCEND_OPP_PATH"):
        return "ASCEND_OPP_PATH is not set, source CANN's set_env.sh"
    if which("g++") is None:
        return "MindSpore compiles their binding with g++, which is not on PATH"
    return ""
