"""What MoveIt's nodes have to know of a robot, from the files that its profile names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twist_bringup.robot_profile import DescriptionFile, config_folder
from twist_nodes.moveit_configuration import moveit_configuration
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
    urdf, srdf = ((file.package, file.file, file.arguments) for file in (files.urdf, files.srdf))
    limits = config_folder() / files.joint_limits
    try:
        config = moveit_configuration(files.package, urdf, srdf, str(limits))
    except ImportError as error:
        raise MoveItError(
            f"servo:=moveit needs MoveIt ({error}): {install_ros_package('moveit')}; or use "
            "servo:=embedded with robot:=sim"
        ) from error
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
