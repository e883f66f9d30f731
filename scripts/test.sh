#!/usr/bin/env bash
# The tests of each package in a process of their own, then those of the workspace:
#   scripts/test.sh [PYTEST ARGUMENTS]      with a path among them: that alone, in one process
#
# One process for all of them has more than a hundred ROS graphs after one another, more than there
# are domains to give each its own, and middleware that was used for so long has been seen to crash.
set -uo pipefail
cd "$(dirname "$0")/.."

for argument in "$@"; do
  [ -e "${argument%%::*}" ] && exec pytest "$@"
done

failed='' ran=''
for folder in src/*/test test; do
  printf '\n=== %s\n' "$folder"
  pytest "$folder" "$@"
  case $? in
    0) ran=yes ;;
    2) exit 2 ;; # interrupted
    5) ;;        # none of them was asked for
    *) failed="$failed $folder" ;;
  esac
done
if [ -n "$failed" ]; then
  printf '\nfailed:%s\n' "$failed" >&2
  exit 1
fi
[ -n "$ran" ] || { echo "no test was asked for: $*" >&2; exit 5; }
