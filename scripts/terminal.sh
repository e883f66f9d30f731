# What the scripts say and how: one line per step, with its time. Sourced by setup.sh and build.sh.

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  BOLD=$(printf '\033[1m') GREEN=$(printf '\033[32m') RED=$(printf '\033[31m')
  DIM=$(printf '\033[2m') PLAIN=$(printf '\033[0m')
else
  BOLD='' GREEN='' RED='' DIM='' PLAIN=''
fi

heading() { printf '%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }
note() { printf '  %-34s %s\n' "$1" "$2"; }

# fail LINE...: prints what was found, what was expected and what to do, and ends the script.
fail() {
  printf '%serror:%s %s\n' "$RED" "$PLAIN" "$1" >&2
  shift
  [ $# -eq 0 ] || printf '       %s\n' "$@" >&2
  exit 1
}

# step LABEL COMMAND...: runs the command with its output in $LOG, counting seconds on a terminal;
# prints the end of the log and ends the script when the command fails.
step() {
  local label=$1 begin=$SECONDS pid status=0
  shift
  printf '\n--- %s: %s\n' "$label" "$*" >>"$LOG"
  local start
  start=$(wc -c <"$LOG")
  # A process group of its own, so that an interrupt ends the compiler's children too.
  set -m
  "$@" </dev/null >>"$LOG" 2>&1 &
  pid=$!
  set +m
  # shellcheck disable=SC2064 # the process id of now
  trap "kill -TERM -- -$pid 2>/dev/null; wait $pid || true; echo; echo interrupted >&2; exit 130" \
    INT TERM
  if [ -t 1 ]; then
    while kill -0 "$pid" 2>/dev/null; do
      printf '\r  %-34s %s%4d s%s' "$label" "$DIM" $((SECONDS - begin)) "$PLAIN"
      sleep 0.5
    done
    printf '\r\033[K'
  fi
  wait "$pid" || status=$?
  trap - INT TERM
  if [ "$status" -ne 0 ]; then
    printf '  %-34s %sfailed%s after %d s\n' "$label" "$RED" "$PLAIN" $((SECONDS - begin))
    printf '\n' >&2
    tail -c "+$((start + 1))" "$LOG" | tail -n 25 | sed 's/^/    /' >&2
    printf '\n' >&2
    fail "$label failed (exit status $status)." "The whole output is in ${LOG#"$PWD"/}."
  fi
  printf '  %-34s %s%4d s%s\n' "$label" "$GREEN" $((SECONDS - begin)) "$PLAIN"
}
