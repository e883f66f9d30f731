"""A robot's MoveIt configuration, for Servo and for whoever plans. Imports ROS when called.

`MoveItConfigsBuilder` takes a configuration package, and finds URDF and SRDF in it by itself only
where the package was made by MoveIt's setup assistant. The FR3's was not: its description lies in
franka_description. So both files are always named, with their xacro arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

Description = tuple[str, str, Mapping[str, str]]
"""A URDF or SRDF, plain or xacro: package, file below its share folder, xacro arguments."""


def moveit_configuration(
    package: str, urdf: Description, srdf: Description, joint_limits: str
) -> Any:
    """What MoveIt's own builder makes of these files.

    Args:
        package: MoveIt configuration package, with ``config/kinematics.yaml``.
        urdf: the robot. The builder only warns where it is not there.
        srdf: its planning groups and collision pairs.
        joint_limits: absolute path of a YAML file with velocities and accelerations.

    Returns:
        moveit_configs_utils.MoveItConfigs.

    Raises:
        ImportError: MoveIt is not installed.
        Exception: whatever xacro, YAML and the package index raise.
    """
    from moveit_configs_utils import MoveItConfigsBuilder

    # The builder chooses among several controller files by this name, and gives up without it.
    name = Path(urdf[1]).name.partition(".")[0]
    # Joined to the package's folder, as the builder does, absolute paths stay as they are.
    return (
        MoveItConfigsBuilder(name, package_name=package)
        .robot_description(file_path=_path(urdf), mappings=dict(urdf[2]))
        .robot_description_semantic(file_path=_path(srdf), mappings=dict(srdf[2]))
        .robot_description_kinematics(file_path="config/kinematics.yaml")
        .joint_limits(file_path=joint_limits)
        # By default it loads every planner that it knows, and wants files for them that the FR3's
        # package does not have.
        .planning_pipelines(pipelines=["ompl"])
        .to_moveit_configs()
    )


def _path(description: Description) -> str:
    from ament_index_python.packages import get_package_share_directory

    package, file, _ = description
    return str(Path(get_package_share_directory(package)) / file)
