# Puts the built workspace into this shell:  . ./env.sh
#
# Works in bash, zsh and, from the workspace folder, any POSIX shell. Sourcing it twice is harmless.
#   TWIST_FROM_SOURCE=1 . ./env.sh   imports the Python packages from src/ instead of install/.

if [ -n "${BASH_SOURCE:-}" ]; then
  _twist_root=$(cd "$(dirname "${BASH_SOURCE}")" && pwd)
elif [ -n "${ZSH_VERSION:-}" ]; then
  eval '_twist_root=${${(%):-%x}:A:h}'
else
  _twist_root=$(pwd)
fi

# _twist_remove VARIABLE FOLDER: takes FOLDER out of a colon-separated list, wherever it stands.
_twist_remove() {
  eval "_twist_list=:\${$1:-}:"
  while :; do
    case $_twist_list in
      *":$2:"*) _twist_list=${_twist_list%%":$2:"*}:${_twist_list#*":$2:"} ;;
      *) break ;;
    esac
  done
  _twist_list=${_twist_list#:}
  export "$1=${_twist_list%:}"
}

# _twist_prepend VARIABLE FOLDER: puts FOLDER first in a colon-separated list, and only there; also
# when another checkout's folders were put before it meanwhile.
_twist_prepend() {
  [ -d "$2" ] || return 0
  _twist_remove "$1" "$2"
  eval "export \"$1=\$2\${$1:+:\$$1}\""
}

if [ ! -x "$_twist_root/.venv/bin/python" ]; then
  echo "env.sh: $_twist_root/.venv is missing. Run 'make setup build' in $_twist_root first." >&2
else
  # The ROS installation that setup chose: a distro's folder, or "wheels".
  _twist_ros=$(cat "$_twist_root/.venv/ros-origin" 2>/dev/null || echo wheels)
  if [ "$_twist_ros" = wheels ]; then
    _twist_prepend AMENT_PREFIX_PATH "$_twist_root/.venv"
    _twist_prepend LD_LIBRARY_PATH "$_twist_root/.venv/lib"
    case ":${AMENT_PREFIX_PATH:-}" in
      *:/opt/ros/*)
        echo "env.sh: this shell has a ROS of /opt/ros, but .venv/ was made with the ROS wheels;" \
          "'make setup' says how to change that." >&2
        ;;
    esac
  else
    # Another workspace's folders on the path do not bring the distribution's with them.
    case ":${AMENT_PREFIX_PATH:-}:" in
      *":$_twist_ros:"*) ;;
      *) . "$_twist_ros/setup.sh" ;;
    esac
  fi

  export VIRTUAL_ENV="$_twist_root/.venv"
  _twist_prepend PATH "$VIRTUAL_ENV/bin"

  for _twist_package in $(command ls "$_twist_root/src"); do
    _twist_prefix="$_twist_root/install/$_twist_package"
    [ -d "$_twist_prefix" ] || continue
    _twist_prepend AMENT_PREFIX_PATH "$_twist_prefix"
    _twist_prepend PATH "$_twist_prefix/bin"
    _twist_prepend PATH "$_twist_prefix/lib/$_twist_package"
    for _twist_folder in $(find "$_twist_prefix" -maxdepth 5 -type d \
      \( -name site-packages -o -name dist-packages \) 2>/dev/null); do
      _twist_prepend PYTHONPATH "$_twist_folder"
    done
  done
  _twist_prepend LD_LIBRARY_PATH "$_twist_root/install/twist_msgs/lib"

  for _twist_package in $(command ls "$_twist_root/src"); do
    [ -f "$_twist_root/src/$_twist_package/setup.py" ] || continue
    if [ -n "${TWIST_FROM_SOURCE:-}" ]; then
      _twist_prepend PYTHONPATH "$_twist_root/src/$_twist_package"
    else
      _twist_remove PYTHONPATH "$_twist_root/src/$_twist_package"
    fi
  done

  # Nothing leaves this machine unless the caller says so.
  export ROS_AUTOMATIC_DISCOVERY_RANGE="${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"
fi

unset -f _twist_prepend _twist_remove
unset _twist_root _twist_list _twist_ros _twist_package _twist_prefix _twist_folder
