"""What differs between robots: topics, frames, Servo's parameters and the packages they need."""

from __future__ import annotations

import typing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml


class ProfileError(ValueError):
    """A configuration file is missing or malformed."""


@dataclass(frozen=True)
class RobotProfile:
    """One file of ``config/robots``.

    Attributes:
        name: the file's name without its ending.
        description: the robot and its driver, for a person.
        base_frame: frame of commands and positions.
        tip_frame: frame that Servo moves (the IK tip); the policy node converts to the tool tip.
        joint_states: topic Servo reads, sensor_msgs/JointState.
        ee_pose: topic of the measured pose of `tip_frame` in `base_frame`, PoseStamped.
        joint_trajectory: topic the robot's trajectory controller takes commands on.
        move_group: MoveIt planning group of the arm.
        moveit_config: MoveIt configuration package.
        servo_parameters: file under ``config`` with moveit_servo's parameters.
        driver_package: package of the robot's driver, which is started in a terminal of its own;
            empty when this graph starts the robot.
        driver_source: where the driver comes from.
    """

    name: str
    description: str
    base_frame: str
    tip_frame: str
    joint_states: str
    ee_pose: str
    joint_trajectory: str
    move_group: str
    moveit_config: str
    servo_parameters: str
    driver_package: str
    driver_source: str


def config_folder() -> Path:
    """The folder with this package's configuration: beside the source, else the installed one.

    Raises:
        ProfileError: neither exists.
    """
    beside = Path(__file__).resolve().parents[1] / "config"
    if beside.is_dir():
        return beside
    # Imported here: the package index is only there in a built workspace.
    try:
        from ament_index_python.packages import get_package_share_directory

        installed = Path(get_package_share_directory("twist_bringup")) / "config"
    except (ImportError, LookupError, OSError) as error:
        raise ProfileError(
            f"twist_bringup's config folder is neither at {beside} nor installed ({error}); "
            "build the workspace (make build) and source it (. ./env.sh)"
        ) from error
    return installed


def load_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML file that holds a mapping.

    Raises:
        ProfileError: the file is missing, no YAML, or no mapping.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ProfileError(f"cannot read {path}: {error}") from error
    if not isinstance(data, dict):
        raise ProfileError(f"{path} must hold a mapping, found {type(data).__name__}")
    return data


def load_robot_profile(name: str) -> RobotProfile:
    """Reads ``config/robots/<name>.yaml``.

    Raises:
        ProfileError: there is no such file, or a key is missing, unknown or not a string.
    """
    folder = config_folder() / "robots"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in folder.glob("*.yaml"))
        raise ProfileError(f"no robot profile {name!r}; known: {', '.join(known)}")
    data = load_yaml(path)
    expected = {item.name for item in fields(RobotProfile)} - {"name"}
    if data.keys() != expected:
        raise ProfileError(
            f"{path}: missing keys {sorted(expected - data.keys())}, "
            f"unknown keys {sorted(data.keys() - expected)}"
        )
    wrong = [key for key, value in data.items() if not isinstance(value, str)]
    if wrong:
        raise ProfileError(f"{path}: {', '.join(wrong)} must be text")
    return RobotProfile(name=name, **typing.cast(dict[str, str], data))
