#!/usr/bin/env bash
# Trains on all devices of this machine, then exports and tries the result: see --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$ROOT/scripts/options.sh"
source "$ROOT/scripts/job.sh"

usage() {
  cat <<'HELP'
usage: bash scripts/run_distribute_train.sh [key=value | --key value]...

Trains with data parallelism on this machine (one worker for each Ascend NPU; two workers on the CPU where there is no
NPU), evaluates, exports the best checkpoint as a verified MindIR file and classifies a few held-out images with it.
Without arguments: the built-in handwritten digits, which takes a few minutes on two CPU cores.

  workers=N          number of workers
  config=FILE        recipe, one of configs/*.yaml (default: configs/digits.yaml)
  output_dir=DIR     run folder, must not exist (default: runs/<recipe>-<date>-<time> in the project)
  everything else    is passed on to `neonext train`, e.g. model=neonext_t epochs=5 batch_size=32

The run folder holds config.yaml, metrics.jsonl, summary.json, curves.png, checkpoints/, <model>.mindir and logs/ with
one log for each worker. Exit code: 0 only if everything succeeded; 2 for a mistake in the options; otherwise that of
the first worker that failed.
HELP
}

set_option() {
  case "$1" in
    workers) WORKERS="${2:-}" ;;
    config) CONFIG="${2:-}" ;;
    output_dir) RUN="${2:-}" ;;
    *) pass_on "$@" ;;
  esac
}

# Number of Ascend devices that this process may use.
npu_count() {
  if [[ -n "${ASCEND_RT_VISIBLE_DEVICES:-}" ]]; then
    tr ',' '\n' <<<"$ASCEND_RT_VISIBLE_DEVICES" | grep -c '[0-9]'
  else
    find /dev -maxdepth 1 -name 'davinci[0-9]*' | wc -l
  fi
}

check_options() {
  local npus
  npus="$(npu_count)"
  [[ "$WORKERS" =~ ^(default|[1-9][0-9]{0,3})$ ]] || die "workers must be a whole number of at least 1, got '$WORKERS'"
  if [[ "$WORKERS" == default ]]; then
    WORKERS=$((npus > 0 ? npus : 2))
  fi
  ((npus == 0 || WORKERS <= npus)) || die "workers=$WORKERS is more than the $npus NPUs of this machine"
  [[ -f "$CONFIG" ]] || die "config file '$CONFIG' does not exist; the recipes are in $ROOT/configs"
  [[ -z "$RUN" || ! -e "$RUN" ]] || die "output_dir '$RUN' exists already: name a new folder"
}

# Makes the run folder, a new one at every start, and sets RUN to it.
make_run_folder() {
  local base number=2
  if [[ -n "$RUN" ]]; then
    mkdir -p "$(dirname "$RUN")"
    mkdir "$RUN"
  else
    mkdir -p "$ROOT/runs"
    RUN="$ROOT/runs/$(basename "${CONFIG%.*}")-$(date +%Y%m%d-%H%M%S)"
    base="$RUN"
    until mkdir "$RUN" 2>/dev/null; do # another start in the same second
      [[ -e "$RUN" ]] || die "cannot make $RUN: is $ROOT/runs writable?"
      RUN="$base-$number"
      number=$((number + 1))
    done
  fi
  RUN="$(cd "$RUN" && pwd)"
  mkdir "$RUN/logs"
}

# Exports the best checkpoint and classifies a few images that training has not seen.
export_and_try() {
  local checkpoint model
  checkpoint="$(find "$RUN/checkpoints" -name '*_best.ckpt')"
  model="$RUN/$(basename "$checkpoint" _best.ckpt).mindir"
  say "Exporting $checkpoint"
  python -m neonext_ms export --checkpoint "$checkpoint" --output "$model"
  say "Classifying held-out images with $model"
  python -m neonext_ms infer --model "$model" --count 5
}

WORKERS=default
CONFIG="$ROOT/configs/digits.yaml"
RUN=""
parse_options "$@"
check_options
use_environment digits
make_run_folder
export MS_OM_PATH="$RUN/logs" # where MindSpore writes about failed compilations; by default the current directory

say "Training with $WORKERS worker(s), $CONFIG; run folder: $RUN"
run_ranks "$WORKERS" "$RUN/logs" -m neonext_ms train --config "$CONFIG" --output_dir "$RUN" \
  ${OPTIONS[@]+"${OPTIONS[@]}"}
export_and_try
say "Done. Everything is in $RUN:"
ls "$RUN"
