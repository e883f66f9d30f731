"""The parameters of MoveIt Servo 2.12 (Jazzy) and of its smoothing plugin: type and allowed values.

Facts taken from the definitions in moveit_servo and moveit_core, where every one is declared; a
parameter of another name is ignored by Servo without a word, and one of another type ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Check = Callable[[Any], bool]


def anything(value: Any) -> bool:
    return True


def positive(value: Any) -> bool:
    return bool(value > 0)


def not_negative(value: Any) -> bool:
    return bool(value >= 0)


def one_of(*allowed: str) -> Check:
    return lambda value: value in allowed


SERVO: dict[str, tuple[type, Check]] = {
    "thread_priority": (int, not_negative),
    "publish_period": (float, positive),
    "max_expected_latency": (float, positive),
    "move_group_name": (str, bool),
    "active_subgroup": (str, anything),
    "pose_command_in_topic": (str, bool),
    "cartesian_command_in_topic": (str, bool),
    "joint_command_in_topic": (str, bool),
    "command_in_type": (str, one_of("unitless", "speed_units")),
    "scale.linear": (float, anything),
    "scale.rotational": (float, anything),
    "scale.joint": (float, anything),
    "incoming_command_timeout": (float, anything),
    "apply_twist_commands_about_ee_frame": (bool, anything),
    "pose_tracking.linear_tolerance": (float, positive),
    "pose_tracking.angular_tolerance": (float, positive),
    "status_topic": (str, bool),
    "command_out_topic": (str, bool),
    "command_out_type": (
        str,
        one_of("trajectory_msgs/JointTrajectory", "std_msgs/Float64MultiArray"),
    ),
    "publish_joint_positions": (bool, anything),
    "publish_joint_velocities": (bool, anything),
    "publish_joint_accelerations": (bool, anything),
    "monitored_planning_scene_topic": (str, bool),
    "joint_topic": (str, bool),
    "check_octomap_collisions": (bool, anything),
    "is_primary_planning_scene_monitor": (bool, anything),
    "use_smoothing": (bool, anything),
    "smoothing_filter_plugin_name": (
        str,
        one_of(
            "online_signal_smoothing::AccelerationLimitedPlugin",
            "online_signal_smoothing::ButterworthFilterPlugin",
            "online_signal_smoothing::RuckigFilterPlugin",
        ),
    ),
    "check_collisions": (bool, anything),
    "self_collision_proximity_threshold": (float, positive),
    "scene_collision_proximity_threshold": (float, positive),
    "collision_check_rate": (float, not_negative),
    "lower_singularity_threshold": (float, positive),
    "hard_stop_singularity_threshold": (float, positive),
    "leaving_singularity_threshold_multiplier": (float, positive),
    "singularity_step_scale": (float, positive),
    "halt_all_joints_in_joint_mode": (bool, anything),
    "halt_all_joints_in_cartesian_mode": (bool, anything),
    "joint_limit_margins": (
        list,
        lambda margins: all(isinstance(m, float) and m >= 0 for m in margins),
    ),
    "override_velocity_scaling_factor": (float, lambda value: 0 <= value <= 1),
}
"""Below ``moveit_servo.``; dots for nested names."""

SMOOTHING: dict[str, tuple[type, Check]] = {
    "update_period": (float, positive),
    "planning_group_name": (str, bool),
}
"""At the node's root, for the acceleration-limited and the Ruckig plugin."""


def problems_together(servo: dict[str, Any], joints: int) -> list[str]:
    """What Servo refuses at its start although each value alone is allowed."""
    found = []
    if servo["hard_stop_singularity_threshold"] <= servo["lower_singularity_threshold"]:
        found.append("the hard stop must lie above the lower singularity threshold")
    if servo["scene_collision_proximity_threshold"] < servo["self_collision_proximity_threshold"]:
        found.append("the scene's proximity threshold must not lie below the arm's own")
    if servo["max_expected_latency"] / 3 < servo["publish_period"]:
        found.append("a trajectory must have three points within max_expected_latency")
    if len(servo["joint_limit_margins"]) not in (1, joints):
        found.append("joint_limit_margins must hold one number, or one per joint")
    return found
