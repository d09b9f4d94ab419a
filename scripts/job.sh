# shellcheck shell=bash
# Sourced by run_distribute_train.sh: runs one command as several ranks under msrun, follows rank 0 on the terminal,
# stops every rank when it is interrupted, and says which rank died, with which code and last words.

JOB_PID=""      # msrun, or the only rank, while it runs
FOLLOWER_PID="" # what shows the log of rank 0
LOGS=""         # folder of worker_<rank>.log and, while the job runs, of rank_<rank>.pid and scheduler.pid
STOP_SECONDS=30 # for the ranks to end by themselves after SIGTERM

# Lines of a normal start and end that say nothing to the user.
NOISE='^\[(INFO|WARNING)\] |Failed to connect to the meta server'

# run_ranks WORKERS LOG_DIR PYTHON_ARGUMENTS...: runs `python PYTHON_ARGUMENTS` as WORKERS ranks on this machine.
# Returns the exit code of the first rank that failed, 0 if all succeeded.
run_ranks() {
  local workers="$1" status=0
  LOGS="$2"
  shift 2
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP
  trap _stop_job EXIT
  touch "$LOGS/worker_0.log" # to be followed from the start
  # In sessions of their own, so that Ctrl-C reaches this script only: msrun would kill the workers and return 0.
  if ((workers == 1)); then
    setsid python "$ROOT/scripts/rank.py" "$LOGS" "$@" >"$LOGS/worker_0.log" 2>&1 &
  else
    # tail_worker_log names a worker that does not exist: rank 0 is followed below, without the noise.
    setsid python -m mindspore.parallel.cluster.run --worker_num="$workers" --local_worker_num="$workers" \
      --master_addr=127.0.0.1 --master_port="$(_free_port)" --log_dir="$LOGS" --join=True \
      --tail_worker_log="$workers" "$ROOT/scripts/rank.py" "$LOGS" "$@" >"$LOGS/msrun.log" 2>&1 &
  fi
  JOB_PID=$!
  tail -n +1 -s 0.2 -f --pid="$JOB_PID" "$LOGS/worker_0.log" 2>/dev/null | {
    trap '' INT # Ctrl-C must not end it before rank 0
    _without_noise
  } &
  FOLLOWER_PID=$!
  while _alive "$JOB_PID"; do
    # After a failure msrun waits for its scheduler, which takes half a minute to notice that the workers are gone.
    if grep -qs 'exit with exception' "$LOGS/msrun.log"; then
      kill -KILL "$(cat "$LOGS/scheduler.pid")" 2>/dev/null || true
    fi
    sleep 0.5
  done
  wait "$JOB_PID" || status=$?
  wait "$FOLLOWER_PID" || true
  JOB_PID=""
  trap - INT TERM HUP EXIT
  if ((status)); then
    _explain_failure "$status" || status=$?
  fi
  rm -f "$LOGS"/*.pid
  return "$status"
}

_free_port() {
  python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

_without_noise() {
  grep --line-buffered -v -E "$NOISE" || true # nothing left to print is no failure
}

_alive() {
  grep -qs '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status"
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

# On Ctrl-C, SIGTERM, or any other early end of this script: SIGTERM for the ranks, SIGKILL for what is left.
_stop_job() {
  local ranks leaders pid waited=0
  [[ -n "$JOB_PID" ]] || return 0
  trap 'waited=$((STOP_SECONDS * 5))' INT TERM
  say "Stopping the workers (Ctrl-C again: at once)" >&2
  if [[ -e "$LOGS/msrun.log" ]]; then
    kill -STOP "$JOB_PID" 2>/dev/null || true # it would kill all ranks as soon as one has ended
  fi
  # msrun and each rank lead a process group: with the scheduler, and with their own children.
  leaders="$JOB_PID $(cat "/proc/$JOB_PID"/task/*/children 2>/dev/null || true)"
  ranks="$(cat "$LOGS"/rank_*.pid 2>/dev/null || true)"
  # shellcheck disable=SC2086 # a list of process ids
  kill -TERM $ranks 2>/dev/null || true
  # shellcheck disable=SC2086
  while _any_alive $ranks && ((waited < STOP_SECONDS * 5)); do
    sleep 0.2 || true # Ctrl-C ends it
    waited=$((waited + 1))
  done
  for pid in $leaders; do
    kill -KILL -- "-$pid" 2>/dev/null || true
  done
  wait "$JOB_PID" "$FOLLOWER_PID" 2>/dev/null || true # rank 0's last lines
  rm -f "$LOGS"/*.pid
}

# _explain_failure STATUS: says which rank failed first, by what msrun reports; returns that rank's exit code.
_explain_failure() {
  local status="$1" failed file rank=0 code="$1"
  if [[ -e "$LOGS/msrun.log" ]]; then
    failed="$(sed -n 's/.*Worker process \([0-9]*\) exit with exception. Error code: \([-0-9]*\).*/\1 \2/p' \
      "$LOGS/msrun.log" | head -n 1)"
    file="$(grep -lxs "${failed% *}" "$LOGS"/rank_*.pid || true)"
    if [[ -z "$file" ]]; then
      _last_lines "$LOGS/msrun.log"
      printf 'error: msrun failed with exit code %s, see the lines above and %s\n' "$status" "$LOGS" >&2
      return "$status"
    fi
    rank="$(basename "${file#"$LOGS"/rank_}" .pid)"
    code="${failed#* }"
    ((code >= 0)) || code=$((128 - code)) # Python's -9 is the shell's 137
    if ((rank)); then                     # rank 0 has been followed on the terminal
      _last_lines "$LOGS/worker_$rank.log"
    fi
  fi
  if ((code > 128)); then
    printf 'error: rank %s was killed by signal %s, see %s\n' "$rank" $((code - 128)) "$LOGS/worker_$rank.log" >&2
  elif ((code != 2)); then # 2 is a mistake in what was asked for, which the rank has told in one line
    printf 'error: rank %s stopped with exit code %s, see the lines above and %s\n' "$rank" "$code" \
      "$LOGS/worker_$rank.log" >&2
  fi
  return "$code"
}

_last_lines() {
  _without_noise <"$1" | tail -n 20 >&2
}
