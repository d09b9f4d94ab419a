# shellcheck shell=bash
# Sourced by run_distribute_train.sh: which machines and devices a job runs on. Sets options of supervise.py.

NNODES="${NNODES:-1}"
NODE_RANK="${NODE_RANK:-0}"

# Number of Ascend devices that this process may use.
npu_count() {
  if [[ -n "${ASCEND_RT_VISIBLE_DEVICES:-}" ]]; then
    tr ',' '\n' <<<"$ASCEND_RT_VISIBLE_DEVICES" | grep -c '[0-9]'
  else
    find /dev -maxdepth 1 -name 'davinci[0-9]*' | wc -l
  fi
}

# Checks NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT.
check_cluster() {
  [[ "$NNODES" =~ ^[1-9][0-9]{0,3}$ ]] || die "NNODES must be a whole number of at least 1, got '$NNODES'"
  if ! [[ "$NODE_RANK" =~ ^(0|[1-9][0-9]{0,3})$ && "$NODE_RANK" -lt "$NNODES" ]]; then
    die "NODE_RANK must be one of 0 to $((NNODES - 1)) (NNODES=$NNODES), got '$NODE_RANK'"
  fi
  if [[ -n "${MASTER_PORT:-}" ]]; then
    [[ "$MASTER_PORT" =~ ^[1-9][0-9]{3,4}$ && "$MASTER_PORT" -ge 1024 && "$MASTER_PORT" -le 65535 ]] ||
      die "MASTER_PORT must be a number from 1024 to 65535, got '$MASTER_PORT'"
    JOB_OPTIONS+=("--master_port=$MASTER_PORT")
  fi
  if ((NNODES > 1)); then
    [[ -n "${MASTER_ADDR:-}" && -n "${MASTER_PORT:-}" ]] ||
      die "NNODES=$NNODES needs MASTER_ADDR and MASTER_PORT: address and a free port of node 0, the same on all nodes"
    JOB_OPTIONS+=("--nnodes=$NNODES" "--node_rank=$NODE_RANK" "--master_addr=$MASTER_ADDR")
  fi
}

# Checks WORKERS and RANK_TABLE, and finds the number of workers where none is given.
check_workers() {
  local npus
  npus="$(npu_count)"
  [[ "$WORKERS" =~ ^(default|[1-9][0-9]{0,3})$ ]] || die "workers must be a whole number of at least 1, got '$WORKERS'"
  if [[ -n "$RANK_TABLE" ]]; then
    [[ -f "$RANK_TABLE" ]] || die "rank table '$RANK_TABLE' does not exist"
    [[ "$WORKERS" == default ]] || die "rank_table names the devices: leave workers=$WORKERS out"
    JOB_OPTIONS+=("--rank_table=$RANK_TABLE")
    return
  fi
  if [[ "$WORKERS" == default ]]; then
    WORKERS=$((npus > 0 ? npus : 2))
  fi
  ((npus == 0 || WORKERS <= npus)) || die "workers=$WORKERS is more than the $npus NPUs of this machine"
  JOB_OPTIONS+=("--workers=$WORKERS")
}

# Says which Python packages CANN would miss, before a rank does within CANN.
check_cann() {
  local missing
  (($(npu_count) == 0)) || missing="$(python "$ROOT/scripts/check_requirements.py" ascend 2>&1)" ||
    say "CANN needs Python packages that are $missing: pip install -e '${ROOT}[ascend]'"
}

describe_cluster() {
  if [[ -n "$RANK_TABLE" ]]; then
    printf 'the devices of %s' "$RANK_TABLE"
  elif ((NNODES > 1)); then
    printf '%s worker(s) on each of %s nodes, this is node %s' "$WORKERS" "$NNODES" "$NODE_RANK"
  else
    printf '%s worker(s)' "$WORKERS"
  fi
}
