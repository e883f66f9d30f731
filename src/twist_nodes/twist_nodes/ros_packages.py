"""What to tell a person who lacks a package of ROS. Imports nothing of ROS."""

from __future__ import annotations

import os


def install_ros_package(name: str) -> str:
    """The cure for a package that is not there.

    Args:
        name: without the distribution's prefix, words joined by hyphens: ``moveit-servo``.
    """
    if os.environ.get("ROS_DISTRO"):
        return f"sudo apt install ros-$ROS_DISTRO-{name}, then source the ROS installation again"
    # The Python wheels, for which there is no such package.
    return (
        f"install ROS 2 and ros-jazzy-{name} under /opt/ros, then "
        "TWIST_ROS=/opt/ros/jazzy make setup build"
    )
