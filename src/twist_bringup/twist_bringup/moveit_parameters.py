"""What MoveIt's nodes have to know of a robot, loaded with MoveIt's own builder.

`MoveItConfigsBuilder` takes a configuration package, and finds URDF and SRDF in it by itself only
where the package was made by MoveIt's setup assistant. The FR3's was not: its description lies in
franka_description. So both files are always named, with their xacro arguments, in the profile.
twist_robot's planner (``home: moveit``) builds its parameters in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twist_bringup.robot_profile import DescriptionFile, config_folder
from twist_nodes.ros_packages import install_ros_package


class MoveItError(RuntimeError):
    """The robot's description cannot be loaded; the message says what to do."""


@dataclass(frozen=True)
class MoveItFiles:
    """Where a robot's description comes from.

    Attributes:
        package: MoveIt configuration package, with ``config/kinematics.yaml``.
        urdf: the robot.
        srdf: its planning groups and collision pairs.
        joint_limits: file under our ``config``; velocities and accelerations.
    """

    package: str
    urdf: DescriptionFile
    srdf: DescriptionFile
    joint_limits: str


def moveit_parameters(files: MoveItFiles) -> Mapping[str, Any]:
    """Parameters ``robot_description``, ``_semantic``, ``_kinematics`` and ``_planning``.

    Raises:
        MoveItError: MoveIt, a package or a file is missing, or a file cannot be read.
    """
    try:
        from ament_index_python.packages import get_package_share_directory
        from moveit_configs_utils import MoveItConfigsBuilder
    except ImportError as error:
        raise MoveItError(
            f"servo:=moveit needs MoveIt ({error}): {install_ros_package('moveit')}; or use "
            "servo:=embedded with robot:=sim"
        ) from error

    def path(file: DescriptionFile) -> str:
        return str(Path(get_package_share_directory(file.package)) / file.file)

    limits = config_folder() / files.joint_limits
    # The builder chooses among several controller files by this name, and gives up without it.
    name = Path(files.urdf.file).name.partition(".")[0]
    try:
        # Joined to the package's folder, as the builder does, absolute paths stay as they are.
        config = (
            MoveItConfigsBuilder(name, package_name=files.package)
            .robot_description(file_path=path(files.urdf), mappings=dict(files.urdf.arguments))
            .robot_description_semantic(
                file_path=path(files.srdf), mappings=dict(files.srdf.arguments)
            )
            .robot_description_kinematics(file_path="config/kinematics.yaml")
            .joint_limits(file_path=str(limits))
            # Servo plans nothing; by default the builder loads every planner that it knows, and
            # wants files for them that the FR3's package does not have.
            .planning_pipelines(pipelines=["ompl"])
            .to_moveit_configs()
        )
    except Exception as error:
        # xacro, YAML and the package index raise whatever they like; the person needs the file.
        raise MoveItError(
            f"the robot's description cannot be loaded from {files.package}, {files.urdf.package} "
            f"and {files.srdf.package}: {type(error).__name__}: {error}; build and source the "
            "driver's workspace"
        ) from error
    parameters: dict[str, Any] = {
        **config.robot_description,
        **config.robot_description_semantic,
        **config.robot_description_kinematics,
        **config.joint_limits,
    }
    missing = [
        key
        for key in ("robot_description", "robot_description_semantic")
        if not str(parameters.get(key) or "").strip()
    ]
    if missing:
        raise MoveItError(
            f"{' and '.join(missing)} came out empty: is {files.urdf.file} in package "
            f"{files.urdf.package}, and {files.srdf.file} in {files.srdf.package}?"
        )
    return parameters
