#!/usr/bin/env bash
# Evaluates a trained checkpoint: see --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$ROOT/scripts/options.sh"

usage() {
  cat <<'HELP'
usage: bash scripts/run_eval.sh [RUN | FILE.ckpt] [key=value | --key value]...

Evaluates the best checkpoint of a run folder, or a checkpoint file, on the validation images of its data set.
Without a name: the newest run below runs/ in the project. The options are those of `neonext validate`, e.g.
batch_size=50 or dataset=folder data_dir=DIR.
HELP
}

set_option() {
  pass_on "$@"
}

# The best checkpoint of the newest run in the project.
newest_checkpoint() {
  { find "$ROOT/runs" -path '*/checkpoints/*_best.ckpt' -printf '%T@ %p\n' 2>/dev/null || true; } |
    sort -rn | sed -n '1s/^[^ ]* //p'
}

TARGET=""
if (($#)) && [[ "$1" != -* && "$1" != *=* ]]; then
  TARGET="$1"
  shift
fi
parse_options "$@"
if [[ -z "$TARGET" ]]; then
  CHECKPOINT="$(newest_checkpoint)"
  [[ -n "$CHECKPOINT" ]] || die "no trained model below $ROOT/runs: train one with scripts/run_distribute_train.sh"
elif [[ -d "$TARGET" ]]; then
  CHECKPOINT="$(find "$TARGET" -path '*/checkpoints/*_best.ckpt')"
  [[ -f "$CHECKPOINT" ]] || die "'$TARGET' is not the folder of one run with a checkpoints/*_best.ckpt"
else
  [[ -f "$TARGET" ]] || die "'$TARGET' is neither a run folder nor a checkpoint file"
  CHECKPOINT="$TARGET"
fi
use_environment digits
say "Evaluating $CHECKPOINT"
python -m neonext_ms validate --model "$CHECKPOINT" ${OPTIONS[@]+"${OPTIONS[@]}"}
