#!/usr/bin/env bash
# Builds with colcon, into build/ and install/ of the repository, the packages that have changed.
#
# The stamp of a package is a hash of its files' names and contents; README and tests do not count.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/terminal.sh

[ -x .venv/bin/python ] ||
  fail ".venv is missing: nothing is installed yet." "Run 'make setup' first, or 'make setup build'."
ros=$(cat .venv/ros-origin 2>/dev/null || echo wheels)

# Two builds at once would write the same folders: the second waits, then finds nothing to do.
mkdir -p install log
if command -v flock >/dev/null; then
  exec 9>install/.build-lock
  flock -n 9 || { note "another build is running" "waiting for it" && flock 9; }
fi

stamp_of() {
  {
    cat .venv/made-from 2>/dev/null || true
    cat colcon.meta scripts/build.sh
    find "src/$1" -type f -not -path '*/test/*' -not -path '*/__pycache__/*' \
      -not -path '*.egg-info/*' -not -name '*.md' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
  } | sha256sum
}

changed=''
declare -A stamps
for manifest in src/*/package.xml; do
  package=$(basename "$(dirname "$manifest")")
  stamps[$package]=$(stamp_of "$package")
  [ "$(cat "install/$package/.stamp" 2>/dev/null)" = "${stamps[$package]}" ] ||
    changed="$changed $package"
done
[ -n "$changed" ] || exit 0

LOG=$PWD/log/build.log
: >"$LOG"
heading "Build of$changed"

colcon_build() {
  # The build is the same whatever the caller's shell and ~/.colcon/defaults.yaml hold.
  unset PYTHONPATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH
  export COLCON_DEFAULTS_FILE=/dev/null
  export PYTHONWARNINGS=ignore
  if [ "$ros" = wheels ]; then
    export AMENT_PREFIX_PATH=$PWD/.venv CMAKE_PREFIX_PATH=$PWD/.venv
  else
    set +u
    . "$ros/setup.sh"
    set -u
  fi
  export VIRTUAL_ENV=$PWD/.venv PATH=$PWD/.venv/bin:$PATH
  local package
  for package in $changed; do
    # A plain copy install leaves removed files behind; a changed package starts from nothing.
    rm -rf "install/$package" "build/$package"
  done
  # shellcheck disable=SC2086 # a list of names
  colcon --log-base log build --base-paths src --packages-select $changed \
    --event-handlers console_direct- console_cohesion- console_stderr+ </dev/null || return 1
  for package in $changed; do
    printf '%s\n' "${stamps[$package]}" >"install/$package/.stamp"
  done
}
step "colcon build" colcon_build
