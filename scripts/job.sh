# shellcheck shell=bash
# Sourced by run_distribute_train.sh: runs a job, start after start until one succeeds or there is no use in another.
# What happens within one start is neonext_ms/launch/supervise.py's.

JOB_OPTIONS=()   # for supervise.py
MAX_RESTARTS=0   # starts after the first
RESTART_DELAY=10 # seconds before the second start; twice as many before each further one
LONGEST_DELAY=300

# set_restarts NAME VALUE: max_restarts or restart_delay.
set_restarts() {
  [[ "$2" =~ ^(0|[1-9][0-9]{0,5})$ ]] || die "$1 must be a whole number of at least 0, got '$2'"
  if [[ "$1" == max_restarts ]]; then MAX_RESTARTS="$2"; else RESTART_DELAY="$2"; fi
}

# set_seconds NAME VALUE: an option of supervise.py.
set_seconds() {
  [[ "$2" =~ ^(0|[1-9][0-9]{0,5})(\.[0-9]+)?$ ]] || die "$1 must be a number of seconds, got '$2'"
  JOB_OPTIONS+=("--$1=$2")
}

PREEMPT_SIGNAL="" # with which the cluster asks to stop, besides SIGTERM

# set_preempt_signal NAME: such as SIGUSR1.
set_preempt_signal() {
  if ! [[ "$1" =~ ^SIG[A-Z0-9]+$ ]] || ! kill -l "$1" >/dev/null 2>&1; then
    die "preempt_signal must be the name of a signal such as SIGUSR1, got '$1'"
  fi
  PREEMPT_SIGNAL="$1"
  JOB_OPTIONS+=("--preempt_signal=$1")
}

JOB_PID=""     # supervise.py while it runs
JOB_SIGNALED=0 # number of the signal that ended the job, if one did
JOB_ASKED=0    # when it came, in SECONDS

# run_job RUN PYTHON_ARGUMENTS...: runs `python PYTHON_ARGUMENTS` as the ranks of this node, with `--resume RUN` after them
# from the second start on. Each start has a log folder of its own, RUN/logs/start-<n>.
# Returns the exit code of the last start.
run_job() {
  local run="$1" restart=0 delay="$RESTART_DELAY" status logs more=()
  shift
  trap '_pass_signal INT 2' INT
  trap '_pass_signal TERM 15' TERM
  trap '_pass_signal HUP 1' HUP
  [[ -z "$PREEMPT_SIGNAL" ]] || trap '_pass_signal TERM 15' "$PREEMPT_SIGNAL"
  while :; do
    status=0
    logs="$(_new_log_folder "$run/logs")" || return
    _start_once "$logs" "$@" ${more[@]+"${more[@]}"} || status=$?
    # 2 is a mistake in what was asked for, 75 a job that was told to stop: another start would not help.
    ((status != 0 && status != 2 && status != 75 && JOB_SIGNALED == 0 && restart < MAX_RESTARTS)) || break
    restart=$((restart + 1))
    say "Start $((restart + 1)) of at most $((MAX_RESTARTS + 1)) in $delay s, from the newest good checkpoint" >&2
    _pause "$delay" || {
      status=$((128 + JOB_SIGNALED))
      break
    }
    delay=$((delay * 2 < LONGEST_DELAY ? delay * 2 : LONGEST_DELAY))
    more=(--resume "$run") # which begins it if the last start has come to nothing
  done
  trap - INT TERM HUP ${PREEMPT_SIGNAL:+"$PREEMPT_SIGNAL"}
  return "$status"
}

_start_once() {
  local logs="$1" status
  shift
  # In a session of its own: Ctrl-C reaches this script only, which passes it on once.
  setsid python -m neonext_ms.launch.supervise --logs "$logs" ${JOB_OPTIONS[@]+"${JOB_OPTIONS[@]}"} -- "$@" &
  JOB_PID=$!
  while :; do
    status=0
    wait "$JOB_PID" || status=$?
    kill -0 "$JOB_PID" 2>/dev/null || break # else a signal ended the waiting, not the job
  done
  JOB_PID=""
  return "$status"
}

# _pass_signal NAME NUMBER: asks the job to stop; a second signal, if it does not come together with the first, at once.
_pass_signal() {
  local name="$1"
  if ((JOB_SIGNALED == 0)); then
    JOB_ASKED="$SECONDS"
  else
    ((SECONDS - JOB_ASKED >= 2)) || return 0
    name=RTMIN+1 # STOP_NOW in supervise.py
  fi
  JOB_SIGNALED="$2"
  [[ -z "$JOB_PID" ]] || kill -s "$name" "$JOB_PID" 2>/dev/null || true
}

# Sleeps; fails at once when a signal comes.
_pause() {
  local sleeper
  sleep "$1" &
  sleeper=$!
  wait "$sleeper" || true
  kill "$sleeper" 2>/dev/null || true
  ((JOB_SIGNALED == 0))
}

# Makes and prints the first of start-1, start-2, ... that is not there yet; with several nodes each has its own.
_new_log_folder() {
  local number=1 suffix="" folder
  ((NNODES == 1)) || suffix="-node-$NODE_RANK"
  mkdir -p "$1"
  while :; do
    folder="$1/start-$number$suffix"
    if mkdir "$folder" 2>/dev/null; then
      printf '%s\n' "$folder"
      return
    fi
    [[ -e "$folder" ]] || die "cannot make $folder: is $1 writable?"
    number=$((number + 1))
  done
}
