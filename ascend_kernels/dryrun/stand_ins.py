"""Stand-ins for CANN's libraries, enough for MindSpore's own Ascend backend to load and to simulate graphs on a CPU.

MindSpore's wheel holds the whole backend and needs CANN only to link with and to call. The names of those functions
come from the symbol tables of the installed wheel; nothing of CANN is used. Every function does nothing and returns 0,
but for the few that hand back an object. Made with g++ and binutils in seconds, kept in the user's cache.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

CHIP = "Ascend910B2"
FAMILY = "ascend910b"
CANN_VERSION = "9.1.0"  # the newest that MindSpore 2.10 asks for

# The project's operators as an operator package names them: inputs and outputs, float32 ones marked *.
OPERATORS = {
    "NeoCell": ("x a b", "y"),
    "NeoCellKron": ("x k", "y"),
    "NeoCellGrad": ("x a b dy", "dx da* db*"),
    "Pointwise": ("x w b", "y"),
    "PointwiseGelu": ("x w b", "y"),
    "PointwiseGeluKept": ("x w b", "y z"),
    "PointwiseResidual": ("x w b r s*", "y"),
    "PointwiseMlp": ("x w1 b1 w2 b2 r s*", "y"),
    "PointwiseInputGrad": ("dy w", "dx"),
    "PointwiseWeightGrad": ("dy x", "dw* db*"),
    "PointwiseGeluGrad": ("dy w z", "dz"),
}

# Functions of CANN, by the beginnings of their names.
_OF_CANN = re.compile(r"_ZNK?2ge|acl[a-z]*[A-Z]|hal[A-Z]|rt[A-Z]|Hccl|hccl[A-Z]")
# Libraries that the backend names and this machine, or the wheel, has.
_FOUND_ELSEWHERE = re.compile(
    r"(libc|libm|libgcc_s|libstdc\+\+|libpthread|libdl|librt|libgomp|libz|ld-linux.*)\.so|libav|libsw|libopencv|libicu"
    r"|libtiny|_c_data|.*(mindspore|shmem|ms_kernels|atb)"
)


class Missing(Exception):
    """What the stand-ins are made with is not there; the message says what."""


def stand_ins() -> Path:
    """Folder with the stand-ins for the installed MindSpore, made first if need be.

    Raises:
        Missing: no g++ or binutils, or a MindSpore without an Ascend backend.
    """
    key = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    cache = _cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"ascend_stand_ins-mindspore-{version('mindspore')}-{key}"
    with open(cache / "ascend_stand_ins.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=cache) as made:
                _make(Path(made) / "made")
                os.rename(Path(made) / "made", folder)
    return folder


def environment(folder: Path, ranks: int = 1, rank: int = 0, package: bool = True) -> dict[str, str]:
    """What to set for a process that is to find the stand-ins.

    Args:
        folder: of `stand_ins`.
        ranks, rank: a job of so many devices, of which this process is one; the others need not run.
        package: whether the project's AscendC operators are installed.
    """
    cann = folder / "cann"
    settings = {
        "LD_LIBRARY_PATH": _before("LD_LIBRARY_PATH", cann / "lib64"),
        "PYTHONPATH": _before("PYTHONPATH", folder / "python"),
        "ASCEND_HOME_PATH": str(cann),
        "ASCEND_OPP_PATH": str(cann / "opp"),
        "ASCEND_CUSTOM_OPP_PATH": str(folder / "vendors/neonext") if package else "",
        "MS_SIMULATION_LEVEL": "1",  # no device; results are zeros
        "RANK_ID": str(rank),
    }
    return settings | ({"RANK_SIZE": str(ranks)} if ranks > 1 else {})


def _before(variable: str, path: Path) -> str:
    rest = os.environ.get(variable)
    return f"{path}:{rest}" if rest else str(path)


def _cache_directory() -> Path:
    """The one of the compiled CPU kernel."""
    if os.environ.get("NEONEXT_CACHE_DIR"):
        return Path(os.environ["NEONEXT_CACHE_DIR"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neonext_ms"


def _make(folder: Path):
    for tool in ("g++", "nm", "readelf", "strings", "c++filt"):
        if shutil.which(tool) is None:
            raise Missing(f"{tool} is not on PATH: install g++ and binutils")
    wheel = _Wheel(Path(find_spec("mindspore").origin).parent)
    libraries = folder / "cann/lib64"
    libraries.mkdir(parents=True)
    runtime = wheel.strings(r"acl(rt|mdl|op|tdt|prof)?[A-Z]\w+")
    aclnn = wheel.strings(r"aclnn\w+") | {"aclnnInit", "aclnnFinalize"}
    aclnn |= {f"{name}GetWorkspaceSize" for name in aclnn if not name.endswith("GetWorkspaceSize")}
    device = wheel.strings(r"rt[A-Z]\w+") | {"rtDevBinaryUnRegister", "rtLaunch", "rtGetC2cCtrlAddr"}
    # DVM, which makes the fused kernels of jit level O1, looks the last one up too.
    profiler = wheel.strings(r"Msprof[A-Z]\w+") | {"MsprofSysCycleTime"}
    _compile(libraries / "libascendcl.so", _runtime_source(sorted(wheel.undefined() | runtime)))
    _compile(libraries / "libopapi.so", _nothing(aclnn | runtime))
    _compile(libraries / "libprofapi.so", _nothing(profiler))
    _compile(libraries / "libruntime.so", _nothing(device))
    for name in wheel.needed() - {path.name for path in libraries.iterdir()}:
        _compile(libraries / name, "int empty_;\n")
    (folder / "cann/include/acl").mkdir(parents=True)
    (folder / "cann/include/acl/acl_base.h").write_text("#include <cstdint>\n#include <cstddef>\n")
    (folder / "cann/opp").mkdir()
    (folder / "python/hccl").mkdir(parents=True)
    (folder / "python/hccl/__init__.py").touch()
    (folder / "python/hccl/sys_version.py").write_text(f"__sys_version__ = {CANN_VERSION!r}\n")
    _make_package(folder / "vendors/neonext")


class _Wheel:
    """The libraries of an installed MindSpore."""

    def __init__(self, root: Path):
        plugin = root / "lib/plugin"
        main = [plugin / "libmindspore_ascend.so.2", plugin / "libmindspore_ops_ascend.so"]
        main += [root / "lib/libmindspore_ge_backend.so"]
        if not all(path.exists() for path in main):
            raise Missing(f"MindSpore in {root} has no Ascend backend (the wheels for x86-64 and aarch64 Linux have)")
        beside = [path for path in (plugin / "ascend").glob("*.so") if not re.search("cpu_kernels|dvpp", path.name)]
        deeper = [path for path in (plugin / "ascend").rglob("lib*.so") if re.search("libshmem|ms_kernels", str(path))]
        self.loaded = main + beside + [path for path in deeper if path.name == "libshmem.so"]
        self.host = [*root.glob("_c_expression*.so"), *(root / "lib").glob("*.so*"), plugin / "libmindspore_ops_cpu.so"]
        self.all = [*self.host, *main, *beside, *deeper]
        looking_up = (plugin / "ascend/libmindspore_ascend_res_manager.so", main[1], main[0])
        self._strings = {line for path in looking_up for line in _output("strings", "-n", "5", path).splitlines()}

    def strings(self, pattern: str) -> set[str]:
        """Functions that are looked up by name when the backend loads, so their names stand among its strings."""
        return {line for line in self._strings if re.fullmatch(pattern, line)}

    def undefined(self) -> set[str]:
        """Functions of CANN that the backend is linked with."""
        defined = set().union(*(_symbols(path, "--defined-only") for path in self.all))
        undefined = set().union(*(_symbols(path, "--undefined-only") for path in self.loaded))
        return {name for name in undefined - defined if _OF_CANN.match(name)}

    def needed(self) -> set[str]:
        """Libraries that the backend's libraries name and nothing here has."""
        named = {
            name for path in self.loaded for name in re.findall(r"NEEDED.*\[(.+?)\]", _output("readelf", "-d", path))
        }
        return {name for name in named if not _FOUND_ELSEWHERE.match(name)} - {path.name for path in self.all}


def _runtime_source(names: list[str]) -> str:
    """The library that the backend is linked with. Objects of CANN are smaller than 24 bytes to a caller, or unused."""
    names = [name for name in names if name not in ("aclrtGetDeviceCount", "aclrtGetSocName")]
    readable = _output("c++filt", text="\n".join(names)).splitlines()
    code = "#include <cstring>\n#include <cstdlib>\n#include <string>\n#include <map>\n" + 'extern "C" {\n'
    code += "".join(_function(i, name, plain) for i, (name, plain) in enumerate(zip(names, readable)))
    code += "int aclrtGetDeviceCount(unsigned *count) { *count = 8; return 0; }\n"
    return code + f'const char *aclrtGetSocName() {{ return "{CHIP}"; }}\n}}\n'


def _function(i: int, symbol: str, readable: str) -> str:
    """One function; constructors and getters return an object through memory."""

    def filled(size, offset=0):
        return _defined(i, symbol, "void *", "char *p", f"memset(p + {offset}, 0, {size}); return p;")

    constructor = re.search(r"C[12]E", symbol)
    if readable == "ge::StatusFactory::Instance()":
        made = "static auto *made = new (calloc(1, 4096)) std::map<unsigned, std::string>(); return made;"
        return _defined(i, symbol, "void *", "", made)
    if constructor and readable.startswith("ge::Operator::Operator("):
        return filled(16, 8)
    if constructor and readable.startswith("ge::") and "Register" not in readable:
        return filled(16)
    if "CreateOperator(" in readable or readable.endswith("GetDims() const"):
        return filled(24)
    if readable.endswith(("GetShape() const", "GetTensorDesc() const")):
        return filled(16)
    if readable.endswith("GetString() const"):
        return _defined(i, symbol, "const char *", "", 'return "";')
    if readable.endswith(("GetName() const", "GetOpType() const")):
        return _defined(i, symbol, "void *", "std::string *p", "new (p) std::string(); return p;")
    if re.search(r"ge::Operator::Set(Attr|Input)\(", readable):
        return _defined(i, symbol, "void *", "char *p", "return p;")
    return _defined(i, symbol, "long ", "", "return 0;")


def _defined(i: int, symbol: str, result: str, arguments: str, body: str) -> str:
    return f'{result}f{i}({arguments}) __asm__("{symbol}");\n{result}f{i}({arguments}) {{ {body} }}\n'


def _nothing(names) -> str:
    """A library of functions that return 0."""
    body = (_defined(i, name, "long ", "", "return 0;") for i, name in enumerate(sorted(names)))
    return 'extern "C" {\n' + "".join(body) + "}\n"


def _make_package(vendor: Path):
    """The project's operators as an installed operator package."""
    config = vendor / f"op_impl/ai_core/tbe/config/{FAMILY}"
    for folder in (config, vendor / "op_api/lib", vendor / "op_api/include"):
        folder.mkdir(parents=True)
    info, functions = {}, []
    for name, (inputs, outputs) in OPERATORS.items():
        info[name] = _operator_info(name, inputs.split(), outputs.split())
        made = [tensor.rstrip("*") for tensor in outputs.split()]
        tensors = inputs.replace("*", "").split() + ([f"{tensor}Out" for tensor in made] if len(made) > 1 else ["out"])
        arguments = "".join(f"    const aclTensor *{tensor},\n" for tensor in tensors)
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        (vendor / f"op_api/include/aclnn_{snake}.h").write_text(
            f"aclnnStatus aclnn{name}GetWorkspaceSize(\n{arguments}    uint64_t *workspaceSize,\n"
            "    aclOpExecutor **executor);\n"
        )
        functions += [f"aclnn{name}", f"aclnn{name}GetWorkspaceSize"]
    (config / f"aic-{FAMILY}-ops-info.json").write_text(json.dumps(info, indent=1))
    _compile(vendor / "op_api/lib/libcust_opapi.so", _nothing(functions))


def _operator_info(name: str, inputs: list[str], outputs: list[str]) -> dict:
    info = {key: {"flag": "true"} for key in ("dynamicFormat", "dynamicRankSupport", "dynamicShapeSupport")}
    info |= {"coreType": {"value": "AiCore"}, "opFile": {"value": name}, "opInterface": {"value": name}}
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for i, tensor in enumerate(tensors):
            info[f"{kind}{i}"] = {
                "name": tensor.rstrip("*"),
                "dtype": "float32,float32" if tensor.endswith("*") else "float16,bfloat16",
                "format": "ND,ND",
                "unknownshape_format": "ND,ND",
                "paramType": "required",
                "shape": "all",
            }
    return info


def _compile(library: Path, code: str):
    flags = ["-D_GLIBCXX_USE_CXX11_ABI=0", "-w", "-O1", "-fPIC", "-shared", f"-Wl,-soname,{library.name}"]
    command = ["g++", *flags, "-x", "c++", "-", "-o", str(library)]
    done = subprocess.run(command, input=code, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"g++ cannot compile the stand-in {library.name}: {done.stderr[-1000:]}")


def _symbols(path: Path, kind: str) -> set[str]:
    lines = _output("nm", "-D", kind, path).splitlines()
    return {line.split()[-1].split("@")[0] for line in lines if line.split() and line.split()[-2] not in "wv"}


def _output(*command, text: str | None = None) -> str:
    command = [str(part) for part in command]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", input=text).stdout
