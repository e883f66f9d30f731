#!/usr/bin/env bash
# ruff (rules and format) and mypy; runs all three, then fails if any of them found something.
set -uo pipefail
cd "$(dirname "$0")/.."

status=0
check() {
  printf '%s\n' "$*"
  .venv/bin/"$@" || status=1
}
check ruff check --quiet .
check ruff format --quiet --check .
check mypy
exit "$status"
