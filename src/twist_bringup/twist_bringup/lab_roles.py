"""Roles that only some graphs have: the lab arm's motions, and whoever looks on."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from twist_bringup.camera_roles import WITHOUT
from twist_bringup.robot_profile import DescriptionFile, RobotProfile, config_folder

if TYPE_CHECKING:
    from twist_bringup.options import StackOptions
    from twist_bringup.stack import ParameterValue, Process

IMAGE_TOPIC = "/camera/camera/color/image_raw"
_MOVEIT_START = 30.0
"""Seconds that MoveIt may take to load the robot."""


def arm_motion(options: StackOptions, profile: RobotProfile) -> Process:
    """Home and reset of a lab robot."""
    from twist_bringup.stack import Process  # which describes with this: else a cycle

    parameters: list[tuple[str, ParameterValue]] = [
        ("task", options.task),
        ("arm", profile.name),
        ("method", profile.home),
        ("trajectory_action", f"/{profile.trajectory_controller}/follow_joint_trajectory"),
    ]
    if profile.home == "ptp":
        parameters.append(("controller", profile.trajectory_controller))
    if profile.home == "moveit":
        parameters += [
            ("moveit_config", profile.moveit_config),
            ("urdf", _words(profile.urdf)),
            ("srdf", _words(profile.srdf)),
            ("joint_limits", str(config_folder() / profile.joint_limits)),
            ("move_group", profile.move_group),
            ("base_frame", profile.base_frame),
            ("input_timeout", _MOVEIT_START),
        ]
    return Process(
        name="arm_motion",
        package="twist_robot",
        executable="arm_motion",
        module="twist_robot.motion.arm_motion_node",
        parameters=tuple(parameters),
        remappings=_pairs(("joint_states", profile.joint_states)),
        # The arm can be moved without it; whoever asked it for a motion is told that it is gone.
        required=False,
        # With the trial runner, which may have asked for the motion and takes its time to end: the
        # arm is not to go on meanwhile. Without one, together with the policy, which a person may
        # have activated and which has to hear of the end at once.
        stop_stage=0 if options.trials else 1,
        stop_grace=10.0,
    )


def arm_motion_packages(profile: RobotProfile) -> list[str]:
    """Packages of other projects that this robot's way home needs, from ROS's own apt repository.

    The driver's messages are named with the driver.
    """
    return {
        "trajectory": ["control_msgs"],
        "moveit": ["control_msgs", "moveit_py"],
        "ptp": ["controller_manager_msgs"],
    }.get(profile.home, [])


def trial_parameters(options: StackOptions) -> tuple[tuple[str, ParameterValue], ...]:
    """What the trial runner is told about who resets, places and judges."""
    robot = "robot_twin" if options.robot == "sim" else "arm_motion"
    looks = options.judge_source == "camera"
    parameters: list[tuple[str, ParameterValue]] = [
        ("judge", options.judge_source),
        ("camera_file", "" if options.camera_file == WITHOUT else options.camera_file),
        ("colours", options.colours),
        ("image_topic", IMAGE_TOPIC),
        ("reset_service", f"{robot}/reset"),
        # The arm is taken out of the judge's view.
        ("home_service", f"{robot}/home" if looks else ""),
    ]
    if options.robot != "sim":
        # The time of all attempts at a motion home; a person puts the objects in place after it.
        parameters += [("place", True), ("reset_timeout", 120.0)]
    return tuple(parameters)


def viewers(options: StackOptions, profile: RobotProfile) -> list[Process]:
    """The viewer, and the program that shows what it publishes."""
    from twist_bringup.stack import Process

    if options.viewer == "none":
        return []
    found = [
        Process(
            name="viewer",
            package="twist_viewer",
            executable="viewer",
            module="twist_viewer.viewer_node",
            parameters=(
                ("task", options.task),
                ("checkpoint", options.checkpoint),
                ("base_frame", profile.base_frame),
            ),
            remappings=(("image_raw", IMAGE_TOPIC),),
            required=False,
            stop_stage=2,
        )
    ]
    if options.viewer == "rviz":
        configuration = str(config_folder() / "viewer.rviz")
        found.append(
            Process(
                name="rviz2",
                package="rviz2",
                executable="rviz2",
                arguments=("-d", configuration, "-f", profile.base_frame),
                required=False,
                stop_stage=2,
            )
        )
    if options.viewer == "foxglove":
        found.append(
            Process(
                name="foxglove_bridge",
                package="foxglove_bridge",
                executable="foxglove_bridge",
                parameters=(("port", 8765),),
                required=False,
                stop_stage=2,
            )
        )
    return found


def viewer_packages(options: StackOptions) -> list[str]:
    """Packages of other projects that the chosen viewer needs."""
    return {"rviz": ["rviz2"], "foxglove": ["foxglove_bridge"]}.get(options.viewer, [])


def _words(file: DescriptionFile) -> str:
    """A description as the arm's motion node takes it: file, and arguments as in a shell."""
    arguments = [f"{name}:={value}" for name, value in file.arguments.items()]
    return shlex.join([f"{file.package}/{file.file}", *arguments])


def _pairs(*pairs: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """Remappings that change anything."""
    return tuple((source, target) for source, target in pairs if target != f"/{source}")
