#!/usr/bin/env bash
# Lint, format check and tests: what CI runs. Arguments go to pytest, e.g. -m 'not slow' or tests/ops.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

if [[ "${1:-}" == "--help" || "${1:-}" == "-h" ]]; then
  cat <<'HELP'
usage: bash scripts/run_tests.sh [pytest arguments]

Runs ruff (lint and format), clang-format, shellcheck where it is installed, and pytest in two processes.
  bash scripts/run_tests.sh                    everything, as CI does
  bash scripts/run_tests.sh -m 'not slow'      without the tests that take more than about 20 seconds
  bash scripts/run_tests.sh tests/ops -k shift
HELP
  exit 0
fi

use_environment dev
cd "$ROOT"
say "Lint and format (ruff)"
python -m ruff check .
python -m ruff format --check .
say "C++ format (clang-format)"
find ascend_kernels tests \( -name '*.cpp' -o -name '*.h' \) \
  -exec clang-format --style=file:ascend_kernels/.clang-format --dry-run --Werror {} +
if command -v shellcheck >/dev/null; then
  say "Shell scripts (shellcheck)"
  shellcheck -x -P SCRIPTDIR scripts/*.sh scripts/cluster/slurm.sbatch .ci/run
else
  say "shellcheck is not installed: shell scripts are not linted"
fi
say "Tests"
MS_OM_PATH="$(mktemp -d)" # MindSpore leaves files of failed compilations here instead of in the checkout
export MS_OM_PATH
trap 'rm -rf "$MS_OM_PATH"' EXIT
python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations=10 "$@"
