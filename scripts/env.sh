# shellcheck shell=bash
# Sourced by the other scripts: where the project is, messages, and a Python that has what the project needs.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}" # neonext_ms is always the one of this checkout
export PYTHONSAFEPATH=1 # nor is any module taken from the working folder, where a signal.py may lie
export PYTHONUNBUFFERED=1
export GLOG_v="${GLOG_v:-3}" # MindSpore logs errors only

say() { printf '%s\n' "== $*"; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

# use_environment EXTRA [VERSION]: puts a `python` first on PATH that meets the requirements of setup.py with EXTRA (digits, dev).
# The active one if it does, else .venv in the project, which is made or completed when needed. With a VERSION of
# MindSpore, such as 2.9, always .venv-mindspore-2.9, with the newest 2.9.
use_environment() {
  local extra="$1" version="${2:-}" venv="$ROOT/.venv${2:+-mindspore-$2}" wanted
  if [[ -z "$version" ]] && python "$ROOT/scripts/check_requirements.py" "$extra" >/dev/null 2>&1; then
    return
  fi
  wanted="complete $(cksum <"$ROOT/setup.py")"
  if [[ "$(_venv_state "$venv")" != "$wanted" ]]; then
    # Two scripts started at once: the second waits here, and then finds the work done.
    exec 9<>"$ROOT/setup.py"
    flock -n 9 || { say "Waiting for another script that is installing into $venv"; flock 9; }
    if [[ "$(_venv_state "$venv")" != "$wanted" ]]; then
      _make_venv "$venv" "$wanted" ${version:+"mindspore==$version.*"}
    fi
    exec 9>&-
  fi
  export VIRTUAL_ENV="$venv" PATH="$venv/bin:$PATH"
}

# What .venv/.neonext says: "building", or "complete" with the checksum of the setup.py that it was made from.
_venv_state() {
  if [[ ! -e "$1" ]]; then
    echo absent
  elif [[ ! -f "$1/.neonext" ]]; then
    echo foreign
  elif ! "$1/bin/python" -c '' 2>/dev/null; then
    echo building
  else
    cat "$1/.neonext"
  fi
}

# Arguments: folder, what to note when it is done, and packages besides those of the project.
_make_venv() {
  local venv="$1" wanted="$2" base log="$1/install.log"
  case "$(_venv_state "$venv")" in
    foreign) die "$venv was not made by this script and is not active: activate it and run" \
      "'pip install -e .[dev]' in $ROOT, or move it away" ;;
    building) rm -rf "$venv" ;; # what an interrupted installation of ours left
  esac
  if [[ ! -e "$venv" ]]; then
    base="$(_find_python)" || exit
    say "Making $venv with $("$base" --version)"
    mkdir "$venv"
    echo building >"$venv/.neonext"
    "$base" -m venv "$venv" || die "$base -m venv $venv failed"
  fi
  say "Installing MindSpore and the other requirements of setup.py: once, about 1 minute and 3 GB"
  echo building >"$venv/.neonext"
  if ! "$venv/bin/python" -m pip install --no-input --disable-pip-version-check -e "${ROOT}[dev]" "${@:3}" >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    die "the installation failed, see the lines above and $log; the next start begins anew"
  fi
  if ! "$venv/bin/python" -c 'import mindspore, neonext_ms' >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    die "MindSpore is installed in $venv but cannot be imported, see the lines above"
  fi
  echo "$wanted" >"$venv/.neonext"
}

# A Python that MindSpore has wheels for and that can make virtual environments.
_find_python() {
  local name suitable=""
  for name in python3.11 python3.12 python3.10 python3 python; do
    "$name" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null || continue
    if "$name" -c 'import ensurepip, venv' 2>/dev/null; then
      command -v "$name"
      return
    fi
    suitable="$name"
  done
  [[ -z "$suitable" ]] || die "$suitable cannot make virtual environments: install its venv module" \
    "(Debian and Ubuntu: apt-get install python3-venv)"
  die "no Python 3.10, 3.11 or 3.12 on PATH, which MindSpore needs: install one of them"
}
