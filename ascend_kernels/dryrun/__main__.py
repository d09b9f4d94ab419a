"""Run a Python program on MindSpore's Ascend backend without CANN and without an NPU, and say which kernels it takes.

    python ascend_kernels/dryrun [--ranks 8] [--rank 0] [--no-package] [--kernels FILE] -- SCRIPT ARGUMENTS...
    python ascend_kernels/dryrun --environment        # lines for a shell to source

The program sets its device with `ms.set_device("Ascend")` as on an NPU. See README.md for what that proves.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import kernels
import stand_ins

# The graphs are written once, when they are built; of the log, only the lines about kernels and memory.
OBSERVED = {"MS_SUBMODULE_LOG_v": "{DEVICE:1}", "MS_DEV_SAVE_GRAPHS": "1", "MS_DEV_DUMP_IR_PASSES": "graph_build"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python ascend_kernels/dryrun", description=__doc__.splitlines()[0])
    parser.add_argument("--environment", action="store_true", help="print what to export, and run nothing")
    parser.add_argument("--ranks", type=int, default=1, help="devices of the job of which this process is one")
    parser.add_argument("--rank", type=int, default=0, help="which one")
    parser.add_argument("--no-package", action="store_true", help="without the project's AscendC operators")
    parser.add_argument("--kernels", type=Path, help="file for the kernels of all graphs, as JSON")
    parser.add_argument("program", nargs="*", help="a script, or -- -m MODULE, and its arguments, behind -- as well")
    options = parser.parse_args()
    try:
        folder = stand_ins.stand_ins()
    except stand_ins.Missing as missing:
        print(f"no dry run here: {missing}", file=sys.stderr)
        return 2
    settings = stand_ins.environment(folder, options.ranks, options.rank, not options.no_package)
    if options.environment:
        print("\n".join(f"export {key}={shlex.quote(value)}" for key, value in settings.items()))
        return 0
    if not options.program:
        parser.error("say which program to run")
    return run(options.program, settings, options.kernels)


def run(program: list[str], settings: dict[str, str], output: Path | None) -> int:
    """Run it, pass on what it writes, and write its kernels to a file; its exit code."""
    with tempfile.TemporaryDirectory(prefix="neonext-dryrun-") as scratch:
        settings = settings | {"GLOG_v": "3", "MS_COMPILER_CACHE_PATH": scratch, "MS_DEV_SAVE_GRAPHS_PATH": scratch}
        log = Path(scratch) / "log"
        if output is None:
            return subprocess.run([sys.executable, *program], env=os.environ | settings).returncode
        with open(log, "w") as stream:
            done = subprocess.run([sys.executable, *program], env=os.environ | settings | OBSERVED, stderr=stream)
        text = log.read_text(errors="replace")
        if done.returncode:
            sys.stderr.write("\n".join(line for line in text.splitlines() if not line.startswith("[INFO]")) + "\n")
            return done.returncode
        output.write_text(json.dumps(kernels.read(text, Path(scratch))))
    return 0


sys.exit(main())
