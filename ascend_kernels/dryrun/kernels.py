"""What MindSpore's Ascend backend says about the graphs it has compiled: every kernel with its kind and its tensors."""

import math
import re
from collections import Counter
from pathlib import Path

# Kinds: opapi = aclnn; acl = the legacy path (aclopCompileAndExecute: slow to launch, compiled at first use); rt =
# views and copies; akg = fused by DVM at jit level O1; hccl = collectives.
_KIND = re.compile(r"kernel opname:(\S+?), kernel type:(\w+)_kernel")
_NODE = re.compile(r"^  %\d+\(\S+\) = (?:PrimFunc_)?(\w+)\(")
# Type, format (DefaultFormat, or NCHW around convolutions) and shape.
_TENSOR = re.compile(r"(\w+?)x[A-Z]\w*\[const vector\]\{([\d, ]*)\}")
_SCOPE = re.compile(r"# Fullname with scope: \((\S+)\)")
_NAME = re.compile(r'uniq_name: "(\w+)"')
_PEAK = re.compile(r"Max peak used memory size is (\d+)")
BYTES = {"Float32": 4, "Float16": 2, "BFloat16": 2, "Int32": 4, "Int64": 8, "Bool": 1, "UInt8": 1, "Int8": 1}


def read_kinds(log: str) -> dict[str, str]:
    """Kind of kernel by operator name, from the log of module DEVICE at level INFO."""
    kinds = {}
    for name, kind in _KIND.findall(log):
        kinds.setdefault(name, Counter())[kind] += 1
    return {name: counts.most_common(1)[0][0] for name, counts in kinds.items()}


def read_peak_memory(log: str) -> int:
    """Bytes of device memory at the fullest moment."""
    return max((int(size) for size in _PEAK.findall(log)), default=0)


def read_graph(text: str, kinds: dict[str, str]) -> list[dict]:
    """The kernels of one graph, in the order of execution.

    Args:
        text: the graph as MindSpore's `graph_build` pass writes it.
        kinds: of `read_kinds`; nodes that are in no kernel's log line are no kernels (tuples, dependencies).

    Returns:
        name; kind; inputs and outputs, lists of [type, shape]; scope, where in the network it comes from.
    """
    kernels = []
    lines = iter(text.splitlines())
    for line in lines:
        found = _NODE.match(line)
        if not found:
            continue
        custom = _NAME.search(line)
        name = custom[1] if custom else found[1]
        if name not in kinds:
            continue
        kernels.append({"name": name, "kind": kinds[name], **_tensors(lines)})
    return kernels


def _tensors(lines) -> dict:
    """The tensors of the node whose line has been read, and its scope."""
    result = {"inputs": [], "outputs": [], "scope": ""}
    for line in lines:
        if _TENSOR.search(line) and ") -> (" in line:
            inputs, outputs = line.split(") -> (")
            result |= {"inputs": _shapes(inputs), "outputs": _shapes(outputs)}
        elif scope := _SCOPE.search(line):
            return result | {"scope": scope[1]}
    return result


def _shapes(text: str) -> list:
    return [[kind, [int(size) for size in shape.split(",") if size.strip()]] for kind, shape in _TENSOR.findall(text)]


def read(log: str, folder: Path) -> dict:
    """All of a process: its graphs, in the order they were compiled, and its peak memory.

    Args:
        log: what the process wrote.
        folder: where its graphs are.
    """
    kinds = read_kinds(log)
    paths = sorted(folder.glob("**/graph_build_*.ir"), key=lambda path: int(path.stem.rsplit("_", 1)[1]))
    graphs = [read_graph(path.read_text(errors="replace"), kinds) for path in paths]
    return {"graphs": [graph for graph in graphs if graph], "peak_memory": read_peak_memory(log)}


def size(tensor) -> int:
    """Bytes of [type, shape]."""
    kind, shape = tensor
    return BYTES.get(kind, 4) * math.prod(shape)
