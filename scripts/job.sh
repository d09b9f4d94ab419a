# shellcheck shell=bash
# Sourced by run_distribute_train.sh: runs one command as several ranks under msrun, follows rank 0 on the terminal,
# stops every rank when it is interrupted, and says which rank died, with which code and last words.

JOB_PID=""            # msrun, or the only worker, while it runs
FOLLOWER_PID=""       # what shows the log of rank 0
declare -A RANK_OF=() # process id of a worker -> its rank
STOP_SECONDS=30       # for the workers to end by themselves after SIGTERM

# Lines of a normal start and end that say nothing to the user.
NOISE='^\[(INFO|WARNING)\] |Failed to connect to the meta server'

# run_ranks WORKERS LOG_DIR PYTHON_ARGUMENTS...: runs `python PYTHON_ARGUMENTS` as WORKERS ranks on this machine.
# Returns the exit code of the first rank that failed, 0 if all succeeded. Logs: LOG_DIR/worker_<rank>.log.
run_ranks() {
  local workers="$1" logs="$2" status=0
  shift 2
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP
  trap _stop_job EXIT
  touch "$logs/worker_0.log" # to be followed from the start
  # In sessions of their own, so that Ctrl-C reaches this script only: msrun would kill the workers and return 0.
  if ((workers == 1)); then
    setsid python "$@" >"$logs/worker_0.log" 2>&1 &
    RANK_OF[$!]=0
  else
    # tail_worker_log names a worker that does not exist: rank 0 is followed below, without the noise.
    setsid python -m mindspore.parallel.cluster.run --worker_num="$workers" --local_worker_num="$workers" \
      --master_addr=127.0.0.1 --master_port="$(_free_port)" --log_dir="$logs" --join=True \
      --tail_worker_log="$workers" python "$@" >"$logs/msrun.log" 2>&1 &
  fi
  JOB_PID=$!
  tail -n +1 -s 0.2 -f --pid="$JOB_PID" "$logs/worker_0.log" 2>/dev/null | _without_noise &
  FOLLOWER_PID=$!
  while _alive "$JOB_PID"; do
    if ((workers > 1)); then
      _watch_msrun "$workers" "$logs/msrun.log"
    fi
    sleep 0.5
  done
  wait "$JOB_PID" || status=$?
  wait "$FOLLOWER_PID" || true
  JOB_PID=""
  trap - INT TERM HUP EXIT
  if ((status && workers > 1)); then
    _explain_failure "$logs" "$status"
  elif ((status)); then
    _name_failure 0 "$((status > 128 ? 128 - status : status))" "$logs/worker_0.log"
  fi
}

_free_port() {
  python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

_without_noise() {
  grep --line-buffered -v -E "$NOISE" || true # nothing left to print is no failure
}

_children() {
  cat "/proc/$1"/task/*/children 2>/dev/null || true
}

# The value of environment variable $2 of process $1.
_variable() {
  { tr '\0' '\n' <"/proc/$1/environ"; } 2>/dev/null | sed -n "s/^$2=//p"
}

# _watch_msrun WORKERS MSRUN_LOG
_watch_msrun() {
  ((${#RANK_OF[@]} == $1)) || _note_ranks
  # After a failure msrun waits for its scheduler, which takes half a minute to notice that the workers are gone.
  if grep -qs 'exit with exception' "$2"; then
    kill -KILL "$(_children_with_role MS_SCHED)" 2>/dev/null || true
  fi
}

_children_with_role() {
  local pid
  for pid in $(_children "$JOB_PID"); do
    if [[ "$(_variable "$pid" MS_ROLE)" == "$1" ]]; then
      echo "$pid"
    fi
  done
}

_note_ranks() {
  local pid
  for pid in $(_children_with_role MS_WORKER); do
    RANK_OF[$pid]="$(_variable "$pid" RANK_ID)"
  done
}

_alive() {
  grep -q '^State:[[:space:]]*[^ZX]' "/proc/$1/status" 2>/dev/null
}

_any_alive() {
  local pid
  for pid in "$@"; do
    if _alive "$pid"; then
      return 0
    fi
  done
  return 1
}

# On Ctrl-C, SIGTERM, or any other early end of this script: SIGTERM for the workers, SIGKILL for what is left.
_stop_job() {
  local pids pid waited=0
  [[ -n "$JOB_PID" ]] || return 0
  pids="$JOB_PID $(_children "$JOB_PID")"
  if [[ -z "${RANK_OF[$JOB_PID]:-}" ]]; then
    # msrun would kill all workers as soon as one has ended.
    kill -STOP "$JOB_PID" 2>/dev/null || true
    _note_ranks
  fi
  trap 'waited=$((STOP_SECONDS * 5))' INT TERM
  say "Stopping the workers (Ctrl-C again: at once)" >&2
  kill -TERM "${!RANK_OF[@]}" 2>/dev/null || true
  while _any_alive "${!RANK_OF[@]}" && ((waited < STOP_SECONDS * 5)); do
    sleep 0.2
    waited=$((waited + 1))
  done
  for pid in $pids; do
    # msrun and each worker lead a process group, with the scheduler and their own children.
    kill -KILL -- "-$pid" 2>/dev/null || true
  done
  wait "$JOB_PID" "$FOLLOWER_PID" 2>/dev/null || true # what rank 0 said at last
}

# _explain_failure LOG_DIR STATUS: says what msrun reported about the first rank that failed; returns that rank's code.
_explain_failure() {
  local logs="$1" status="$2" first
  first="$(sed -n 's/.*Worker process \([0-9]*\) exit with exception. Error code: \(-\{0,1\}[0-9]*\).*/\1 \2/p' \
    "$logs/msrun.log" | head -n 1)"
  if [[ -z "$first" ]]; then
    _last_lines "$logs/msrun.log"
    printf 'error: msrun failed with exit code %s, see the lines above and %s\n' "$status" "$logs" >&2
    return "$status"
  fi
  local rank="${RANK_OF[${first% *}]:-0}"
  if ((rank)); then # rank 0 has been followed on the terminal
    _last_lines "$logs/worker_$rank.log"
  fi
  _name_failure "$rank" "${first#* }" "$logs/worker_$rank.log"
}

# _name_failure RANK CODE LOG: CODE as Python reports it, negative for a signal.
_name_failure() {
  if (($2 < 0)); then
    printf 'error: rank %s was killed by signal %s, see %s\n' "$1" "${2#-}" "$3" >&2
    return $((128 - $2))
  fi
  if (($2 != 2)); then # 2 is a mistake in what was asked for, which the rank has told in one line
    printf 'error: rank %s stopped with exit code %s, see the lines above and %s\n' "$1" "$2" "$3" >&2
  fi
  return "$2"
}

_last_lines() {
  _without_noise <"$1" | tail -n 20 >&2
}
