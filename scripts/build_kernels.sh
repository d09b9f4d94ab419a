#!/usr/bin/env bash
# Compiles kernels ahead of their first use: see --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

usage() {
  cat <<'HELP'
usage: bash scripts/build_kernels.sh cpu

  cpu   the C++ kernel of the CPU path, into the user's cache (NEONEXT_CACHE_DIR, by default ~/.cache/neonext_ms),
        where a NeoCell finds it. Without this it is compiled when the first NeoCell is made. Needs a C++17 compiler:
        CXX, or g++, c++, clang++ on PATH.
HELP
}

case "${1:-}" in
  cpu)
    say "CPU kernel"
    "$(command -v python || command -v python3)" -m neonext_ms.ops.cpu.library
    ;;
  -h | --help) usage ;;
  *)
    usage >&2
    die "which kernels? got '${1:-}', expected cpu"
    ;;
esac
