"""Which topics the recorder writes: the text form of its ``topics`` parameter."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

RELIABILITIES = ("best_effort", "reliable", "latched")

DEFAULT_TOPICS = (
    "camera/camera/color/image_raw sensor_msgs/msg/Image best_effort",
    "camera/camera/color/camera_info sensor_msgs/msg/CameraInfo best_effort",
    "joint_states sensor_msgs/msg/JointState best_effort",
    "ee_pose geometry_msgs/msg/PoseStamped best_effort",
    "robot_state twist_msgs/msg/RobotState best_effort",
    "joint_trajectory_controller/joint_trajectory trajectory_msgs/msg/JointTrajectory best_effort",
    "servo_node/pose_target_cmds geometry_msgs/msg/PoseStamped best_effort",
    "servo_node/delta_twist_cmds geometry_msgs/msg/TwistStamped best_effort",
    "servo_node/status moveit_msgs/msg/ServoStatus|twist_msgs/msg/ServoStatus best_effort",
    "robot_twin/ground_truth twist_msgs/msg/GroundTruth best_effort",
    "twist_policy_node/step twist_msgs/msg/PolicyStep reliable",
    "twist_policy_node/belief twist_msgs/msg/Belief reliable",
    "trial_runner/trial twist_msgs/msg/Trial reliable",
    "/diagnostics diagnostic_msgs/msg/DiagnosticArray reliable",
)
"""``NAME TYPE[|OTHER_TYPE] [RELIABILITY]``; relative names, so that they can be remapped."""

REQUIRED_TOPICS = ("camera/camera/color/image_raw", "twist_policy_node/step")
"""Topics of the default list without which a recording is no evidence."""


class TopicError(ValueError):
    """A line of the ``topics`` parameter is wrong; the message names cause and cure."""


@dataclass(frozen=True)
class RecordedTopic:
    """One topic to record.

    Attributes:
        name: as given; the node resolves it.
        type_name: ``package/msg/Name`` of the first type that is installed.
        message_type: its Python class.
        reliability: ``best_effort`` fits every publisher; ``reliable`` loses nothing, from
            reliable publishers only; ``latched`` is reliable, and the last message from before a
            recording's start is written into it.
    """

    name: str
    type_name: str
    message_type: Any
    reliability: str


def parse_topics(lines: Iterable[str]) -> list[RecordedTopic]:
    """Reads the parameter and loads the message classes.

    Raises:
        TopicError: a line is malformed, none of its types is installed, or a topic repeats.
    """
    topics: list[RecordedTopic] = []
    for line in lines:
        words = line.split()
        if not 2 <= len(words) <= 3:
            raise TopicError(
                f"topics: {line!r} is not 'NAME TYPE [RELIABILITY]', "
                "e.g. 'joint_states sensor_msgs/msg/JointState best_effort'"
            )
        reliability = words[2] if len(words) == 3 else "best_effort"
        if reliability not in RELIABILITIES:
            raise TopicError(
                f"topics: {reliability!r} in {line!r} is not one of {', '.join(RELIABILITIES)}"
            )
        if any(topic.name == words[0] for topic in topics):
            raise TopicError(f"topics: {words[0]} is listed twice")
        type_name, message_type = _first_installed(words[1].split("|"), line)
        topics.append(RecordedTopic(words[0], type_name, message_type, reliability))
    return topics


def _first_installed(names: list[str], line: str) -> tuple[str, Any]:
    for name in names:
        parts = name.split("/")
        if len(parts) != 3 or parts[1] != "msg":
            raise TopicError(f"topics: {name!r} in {line!r} is not a type; write package/msg/Name")
        try:
            return name, getattr(importlib.import_module(f"{parts[0]}.msg"), parts[2])
        except (ImportError, AttributeError):
            continue
    raise TopicError(
        f"topics: no type of {line!r} is installed ({', '.join(names)}). Install its package and "
        "source it, or take the line out of the parameter."
    )
