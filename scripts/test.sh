#!/usr/bin/env bash
# The tests of each package in a process of their own, then those of the workspace:
#   scripts/test.sh [PYTEST ARGUMENTS]      with a path among them (src/twist_sim, test/, a file):
#                                           that alone, in one process
#
# One process for all of them has more than a hundred ROS graphs after one another, more than there
# are domains to give each its own, and middleware that was used for so long has been seen to crash.
set -uo pipefail
cd "$(dirname "$0")/.."

for argument in "$@"; do
  case $argument in # not any name that exists: `-k docs` is no path
    *.py | *::* | */*) [ -e "${argument%%::*}" ] && exec pytest "$@" ;;
  esac
done

trap 'exit 130' INT
failed='' ran=''
for folder in src/*/test test; do
  printf '\n=== %s\n' "$folder"
  pytest "$folder" "$@"
  case $? in
    0) ran=yes ;;
    5) ;;        # none of them was asked for
    *) failed="$failed $folder" ;;
  esac
done
if [ -n "$failed" ]; then
  printf '\nfailed:%s\n' "$failed" >&2
  exit 1
fi
[ -n "$ran" ] || { echo "no test was asked for: $*" >&2; exit 5; }
