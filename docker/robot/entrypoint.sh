#!/usr/bin/env bash
# Sources ROS, the mounted driver workspace and ours, in this order, and runs the command.
set -eo pipefail
. "/opt/ros/${ROS_DISTRO}/setup.bash"
underlay=${FRANKA_WS:-/underlay}
if [ -f "$underlay/install/setup.bash" ]; then
  . "$underlay/install/setup.bash"
else
  echo "twist-entrypoint: no built driver workspace at $underlay (FRANKA_WS); the twin works without" >&2
fi
. /opt/twist/env.sh
exec "$@"
