"""What differs between robots: topics, frames, Servo's parameters and the packages they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from twist_sim.typed_yaml import TaskCardError, parse


class ProfileError(ValueError):
    """A configuration file is missing or malformed."""


@dataclass(frozen=True)
class DescriptionFile:
    """A URDF or SRDF, plain or xacro.

    Attributes:
        package: package whose share folder it lies in.
        file: path below that folder.
        arguments: xacro arguments; text each.
    """

    package: str
    file: str
    arguments: Mapping[str, Any]

    def __post_init__(self) -> None:
        wrong = [key for key, value in self.arguments.items() if not isinstance(value, str)]
        if wrong:
            raise ValueError(f"xacro arguments are text; put quotes around {', '.join(wrong)}")


@dataclass(frozen=True)
class DriverProfile:
    """The robot's driver, which is started in a terminal of its own.

    Attributes:
        kind: whose messages it sends; see `twist_robot.arm_state.DRIVERS`.
        package: its package.
        source: where it comes from.
        start: the command that starts it, for a person.
        state: topic of its state.
    """

    kind: str
    package: str
    source: str
    start: str
    state: str

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, ("franka_ros2", "multipanda"))
        _absolute_names(state=self.state)


@dataclass(frozen=True)
class RecoveryProfile:
    """How the driver clears errors; see `twist_robot.recovery`.

    Attributes:
        kind: ``action`` or ``service``.
        name: of that action or service.
        steps: in order.
        hardware_component: ros2_control's name of the arm's hardware; empty where no step needs it.
        broadcasters: controllers that tell the arm's state and its joints'.
    """

    kind: str
    name: str
    steps: tuple[str, ...]
    hardware_component: str
    broadcasters: tuple[str, ...]

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, ("action", "service"))
        _absolute_names(name=self.name)
        for step in self.steps:
            _one_of("steps", step, _RECOVERY_STEPS)
        if "activate_hardware" in self.steps and not self.hardware_component:
            raise ValueError("the step activate_hardware needs a hardware_component")
        if "activate_broadcasters" in self.steps and not self.broadcasters:
            raise ValueError("the step activate_broadcasters needs broadcasters")


_RECOVERY_STEPS = (
    "deactivate_controllers",
    "error_recovery",
    "activate_hardware",
    "activate_broadcasters",
    "activate_controllers",
)


@dataclass(frozen=True)
class RobotProfile:
    """One file of ``config/robots``.

    Attributes:
        name: the file's name without its ending.
        description: the robot and its driver, for a person.
        base_frame: frame of commands and positions.
        tip_frame: frame that Servo moves (the IK tip); the policy node converts to the tool tip.
        joints: names of the arm's joints, from the base on.
        joint_states: topic Servo reads, sensor_msgs/JointState.
        ee_pose: topic of the measured pose of `tip_frame` in `base_frame`, PoseStamped.
        robot_state: topic of the arm's own state, twist_msgs/RobotState.
        joint_trajectory: topic the robot's trajectory controller takes commands on.
        gripper: name of the gripper: its actions are ``<gripper>/move`` and ``<gripper>/grasp``,
            its fingers' positions ``<gripper>/joint_states``; empty where there is none.
        move_group: MoveIt planning group of the arm.
        moveit_config: MoveIt configuration package; its kinematics.yaml is used.
        urdf: the robot, for MoveIt.
        srdf: its planning groups and collision pairs, for MoveIt.
        servo_parameters: file under ``config``, laid over servo_common.yaml.
        joint_limits: file under ``config`` with velocities and accelerations for Servo.
        planning_scene: who keeps it: ``servo``, or a ``move_group`` that runs beside the driver.
        trajectory_controller: ros2_control's name of it; empty where there is none.
        contact_force_limit: external force at which the policy stops, newtons.
        home: how the arm is sent home: ``trajectory``, ``moveit``, ``ptp`` or ``twin``.
        driver: the robot's driver; None when this graph starts the robot.
        recovery: how errors are cleared; None where there are none.
        camera: file under ``config`` with the camera driver's parameters; empty for the twin's.
    """

    name: str
    description: str
    base_frame: str
    tip_frame: str
    joints: tuple[str, ...]
    joint_states: str
    ee_pose: str
    robot_state: str
    joint_trajectory: str
    gripper: str
    move_group: str
    moveit_config: str
    urdf: DescriptionFile
    srdf: DescriptionFile
    servo_parameters: str
    joint_limits: str
    planning_scene: str
    trajectory_controller: str
    contact_force_limit: float
    home: str
    driver: DriverProfile | None
    recovery: RecoveryProfile | None
    camera: str

    def __post_init__(self) -> None:
        _one_of("planning_scene", self.planning_scene, ("servo", "move_group"))
        _one_of("home", self.home, ("trajectory", "moveit", "ptp", "twin"))
        _absolute_names(
            joint_states=self.joint_states,
            ee_pose=self.ee_pose,
            robot_state=self.robot_state,
            joint_trajectory=self.joint_trajectory,
        )
        if self.gripper:
            _absolute_names(gripper=self.gripper)
        if len(set(self.joints)) != 7:
            raise ValueError(f"joints must be 7 different names, found {list(self.joints)}")
        if not 1.0 <= self.contact_force_limit <= 200.0:
            raise ValueError(
                f"contact_force_limit must lie within 1..200 N, found {self.contact_force_limit}"
            )
        if (self.driver is None) != (self.home == "twin"):
            raise ValueError("a robot with a driver is not sent home by the twin, and vice versa")
        if self.driver is not None and not self.trajectory_controller:
            raise ValueError("a robot with a driver needs the name of its trajectory_controller")


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{key} is {value!r}; it must be one of {', '.join(allowed)}")


def _absolute_names(**names: str) -> None:
    for key, name in names.items():
        if not name.startswith("/") or name.endswith("/"):
            raise ValueError(f"{key} must be an absolute name such as /robot_state, found {name!r}")


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
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ProfileError(f"cannot read {path}: {error}") from error
    if not isinstance(data, dict):
        raise ProfileError(f"{path} must hold a mapping, found {type(data).__name__}")
    return data


def load_robot_profile(name: str) -> RobotProfile:
    """Reads ``config/robots/<name>.yaml``.

    Raises:
        ProfileError: there is no such file, a key is missing, unknown or of a wrong type, a value
            makes no sense, or a file that it names is not there.
    """
    folder = config_folder()
    path = folder / "robots" / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise ProfileError(f"no robot profile {name!r}; known: {', '.join(known)}")
    try:
        profile = parse(RobotProfile, {"name": name, **load_yaml(path)}, source=str(path))
    except TaskCardError as error:
        raise ProfileError(str(error).replace("the card:", "the profile:")) from error
    for file in (profile.servo_parameters, profile.joint_limits, profile.camera):
        if file and not (folder / file).is_file():
            raise ProfileError(f"{path} names {file}, which is not in {folder}")
    return profile
