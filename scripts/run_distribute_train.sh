#!/usr/bin/env bash
# Trains on all devices of one or many machines, then exports and tries the result: see --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$ROOT/scripts/options.sh"
source "$ROOT/scripts/cluster.sh"
source "$ROOT/scripts/job.sh"

usage() {
  cat <<'HELP'
usage: bash scripts/run_distribute_train.sh [key=value | --key value]...
       bash scripts/run_distribute_train.sh [RANK_TABLE_FILE] [DATASET_PATH] [CONFIG_PATH] [RESUME_CKPT] [key=value]...

Trains with data parallelism (one worker for each Ascend NPU; two workers on the CPU where there is no NPU), evaluates,
exports the best checkpoint as a verified MindIR file and classifies a few held-out images with it. Without arguments:
the built-in handwritten digits, which takes a few minutes on two CPU cores.

  workers=N          number of workers on each machine
  config=FILE        recipe, one of configs/*.yaml (default: configs/digits.yaml, or the resumed run's own)
  output_dir=DIR     run folder, must hold no run yet (default: runs/<recipe>-<date>-<time> in the project)
  resume=RUN         go on with the run in folder RUN from its newest good checkpoint
  resume=auto        go on with the run in output_dir if it holds one, else begin it: one command for every start
  resume=FILE        begin a new run folder from the training state of a checkpoint
  rank_table=FILE    start by an HCCL rank table instead of msrun; the first words may be given without their names in
                     the order above, in which case the rank table ends in .json
  everything else    is passed on to `neonext train`, e.g. model=neonext_t epochs=5 batch_size=32

Several machines: run the same command on each, with output_dir on a file system that all share, and in the environment
  NNODES, NODE_RANK, MASTER_ADDR, MASTER_PORT   e.g. 2, 0 or 1, 10.0.0.1, 8118: address and port of node 0, where
                                                this port and the next must be free
One machine takes a free port unless MASTER_PORT names one. Slurm and Kubernetes: scripts/cluster/README.md.

When something goes wrong (seconds):
  max_restarts=0       starts after the first, from the newest good checkpoint, when a worker fails or hangs
  restart_delay=10     before the second start; doubled before each further one, up to 300
  hang_timeout=600     a worker without an update or evaluated batch for so long has hung; until its first update:
  start_timeout=1800   the same, for loading and compiling
  exit_timeout=60      for the others after one worker has ended without an error before its work was done
  stop_timeout=30      for the workers to save after Ctrl-C or SIGTERM; Ctrl-C again: at once
  preempt_signal=NAME  a signal such as SIGUSR1 that stops the job as SIGTERM does, with a checkpoint
  health_interval=60   between the lines that tell which workers live, their updates and the memory; 0: none
  node_timeout=30      a machine from which nothing is heard for so long is lost
  bind_cores=true      each worker on its own equal part of the cores; or taskset's ranges, 0-3/4-7 for two workers
HCCL_CONNECT_TIMEOUT and HCCL_EXEC_TIMEOUT are 600 and 1224 unless the environment says otherwise.

The run folder holds config.yaml, metrics.jsonl, summary.json, curves.png, checkpoints/, <model>.mindir and logs/start-1
(start-2, ... after restarts) with one log for each worker.
Exit code: 0 only if everything succeeded; 2 a mistake in the options; 75 stopped by a signal, a checkpoint is saved and
resume=RUN goes on; 130, 143, 129 stopped by Ctrl-C, SIGTERM, SIGHUP before anything was saved; 124 a worker hung;
70 a worker left early without an error; 76 another machine failed or fell silent; otherwise that of the first worker
that failed, 128 + n if signal n killed it.
HELP
}

set_option() {
  case "$1" in
    workers) WORKERS="${2:-}" ;;
    config) CONFIG="${2:-}" ;;
    output_dir) RUN="${2:-}" ;;
    resume) RESUME="${2:-}" ;;
    rank_table) RANK_TABLE="${2:-}" ;;
    max_restarts | restart_delay) set_restarts "$1" "${2:-}" ;;
    hang_timeout | start_timeout | exit_timeout | stop_timeout | node_timeout | health_interval) set_seconds "$1" "${2:-}" ;;
    preempt_signal)
      set_preempt_signal "${2:-}"
      pass_on "$@"
      ;;
    bind_cores) JOB_OPTIONS+=("--bind_cores=${2:-true}") ;;
    *) pass_on "$@" ;;
  esac
}

# The recipe, where none is named: that of the run to go on with, or the built-in digits.
choose_config() {
  local own="$RESUME"
  [[ "$RESUME" != auto ]] || own="$RUN"
  [[ ! -f "$own" ]] || own="$(dirname "$own")/.."
  [[ -z "$CONFIG" && -n "$own" && -f "$own/config.yaml" ]] && CONFIG="$own/config.yaml"
  CONFIG="${CONFIG:-$ROOT/configs/digits.yaml}"
}

check_options() {
  choose_config
  check_cluster
  check_workers
  [[ -f "$CONFIG" ]] || die "config file '$CONFIG' does not exist; the recipes are in $ROOT/configs"
  ((NNODES == 1)) || [[ -n "$RUN" || -d "$RESUME" ]] ||
    die "NNODES=$NNODES needs output_dir, a folder that all nodes share, the same on all of them"
  [[ "$RESUME" != auto || -n "$RUN" ]] || die "resume=auto needs output_dir, the run folder to go on with if it is there"
  if [[ -n "$RESUME" && "$RESUME" != auto ]]; then
    [[ -e "$RESUME" ]] || die "resume: there is no run folder or checkpoint '$RESUME'"
    if [[ -d "$RESUME" ]]; then
      [[ -z "$RUN" || "$RUN" -ef "$RESUME" ]] || die "resume=$RESUME goes on in that folder: leave output_dir out"
      RUN="$RESUME"
    fi
  fi
  [[ ! -e "$RUN" || -d "$RUN" ]] || die "output_dir '$RUN' is no folder: name a new one"
}

# Refuses the folder of a run that is not to go on, by the rule of the training itself.
check_new_run() {
  local found
  [[ -n "$RUN" && "$RESUME" != auto && ! -d "$RESUME" ]] || return 0
  found="$(python -m neonext_ms.runtime.run_folder "$RUN")"
  [[ -z "$found" ]] ||
    die "output_dir '$RUN' holds a training run already ($found): name a new folder, or resume='$RUN'"
}

# Makes the run folder, a new one unless a run is resumed, and sets RUN to it.
make_run_folder() {
  local base number=2
  if [[ -n "$RUN" ]]; then
    mkdir -p "$RUN"
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
  mkdir -p "$RUN/logs"
}

# Refuses to start while processes of an earlier start of this run live: they would write to the same folder.
check_left_overs() {
  local found
  found="$(python -m neonext_ms.launch.left_over "$RUN")"
  [[ -z "$found" ]] || die "processes of an earlier start still run in $RUN: $found; wait for them or end them first"
}

# end_failed STATUS: ends the script. The folder stays, for its logs, and may be named again while it holds nothing else.
end_failed() {
  (($1 != 75)) || say "Go on with the same command and resume=$RUN"
  exit "$1"
}

# Exports the best checkpoint and classifies a few images that training has not seen.
export_and_try() {
  local checkpoint model
  checkpoint="$(find "$RUN/checkpoints" -name '*_best.ckpt')"
  model="$RUN/$(basename "$checkpoint" _best.ckpt).mindir"
  if [[ -e "$model" ]]; then # of a run that had been finished before this start
    say "$model is there already"
  else
    say "Exporting $checkpoint"
    python -m neonext_ms export --checkpoint "$checkpoint" --output "$model"
  fi
  say "Classifying held-out images with $model"
  # 3: one of them cannot be read, which is said; the run is done all the same.
  python -m neonext_ms infer --model "$model" --count 5 || (($? == 3))
}

WORKERS=default
CONFIG=""
RUN=""
RESUME=""
RANK_TABLE=""
take_positional "$@"
shift "$POSITIONAL"
parse_options "$@"
check_options
use_environment digits
check_cann
check_new_run
make_run_folder
check_left_overs
export MS_OM_PATH="$RUN/logs" # where MindSpore writes about failed compilations; by default the current directory
# HCCL: ranks compile for minutes before they meet (120 s by default), and the supervisor, which names the hung rank, is
# to be the first to notice (a multiple of 68 s).
export HCCL_CONNECT_TIMEOUT="${HCCL_CONNECT_TIMEOUT:-600}" HCCL_EXEC_TIMEOUT="${HCCL_EXEC_TIMEOUT:-1224}"

if [[ -n "$RESUME" ]]; then
  OPTIONS+=("--resume=$RESUME")
fi
say "Training with $(describe_cluster), $CONFIG; run folder: $RUN"
run_job "$RUN" -m neonext_ms train --config "$CONFIG" --output_dir "$RUN" ${OPTIONS[@]+"${OPTIONS[@]}"} ||
  end_failed $?
if ((NODE_RANK > 0)); then
  say "Done on node $NODE_RANK; node 0 exports"
  exit
fi
export_and_try
say "Done. Everything is in $RUN:"
ls "$RUN"
