"""What keeps the code readable: functions of at most 50 lines of code, files of at most 300, at most 5 parameters."""

import ast
import io
import tokenize

from tests.support.paths import ROOT

FILES = sorted(path for room in ("neonext_ms", "ascend_kernels", "scripts") for path in (ROOT / room).rglob("*.py"))
SOURCES = [path for ending in ("cpp", "h") for path in (ROOT / "ascend_kernels").rglob(f"*.{ending}")]
NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def functions(tree: ast.Module):
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def code_lines(text: str, function: ast.FunctionDef) -> int:
    """Lines of a function that hold code: neither blank, nor comment, nor docstring."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {line for t in tokens if t.type not in NO_CODE for line in range(t.start[0], t.end[0] + 1)}
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= set(range(first.lineno, first.end_lineno + 1))
    return len([line for line in lines if function.lineno <= line <= function.end_lineno])


def is_public(function: ast.FunctionDef) -> bool:
    """Called by users: its parameters are what they need, and its docstring says of each what it is."""
    return not function.name.startswith("_") and "Args:" in (ast.get_docstring(function) or "")


def trees():
    for path in FILES:
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def test_functions_are_short():
    lengths = {
        f"{name}:{function.name}": code_lines((ROOT / name).read_text(encoding="utf-8"), function)
        for name, tree in trees()
        for function in functions(tree)
        if function.end_lineno - function.lineno >= 50
    }
    assert {place: count for place, count in lengths.items() if count > 50} == {}


def test_a_longer_file_says_why():
    long = []
    for path in [*FILES, *SOURCES]:
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > 300 and "One file, because" not in "\n".join(lines[:10]):
            long.append(f"{path.relative_to(ROOT)}: {len(lines)}")
    assert long == []


def test_functions_take_few_parameters():
    """Five besides self; constructors of documented classes and documented functions take what users need."""
    found = {}
    for name, tree in trees():
        documented = {
            id(method)
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef) and "Args:" in (ast.get_docstring(node) or "")
            for method in node.body
        }
        for function in functions(tree):
            parameters = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
            count = len([parameter for parameter in parameters if parameter.arg not in ("self", "cls")])
            # Inputs of a Cell are the tensors of its graph; MindSpore hands them, and the output's gradient, to bprop.
            exempt = is_public(function) or id(function) in documented or function.name in ("construct", "bprop")
            if count > 5 and not exempt:
                found[f"{name}:{function.name}"] = count
    assert found == {}
