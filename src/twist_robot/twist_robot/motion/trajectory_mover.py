"""Motions through a trajectory controller's FollowJointTrajectory action."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from twist_robot.motion.action_motion import ActionMotion
from twist_robot.motion.joint_path import PathPoint, joint_path
from twist_robot.motion.joint_targets import JointTarget
from twist_robot.motion.motions import FailedMotion, Motion, MotionRequest

_ERROR_NAMES = {
    -1: "invalid goal",
    -2: "invalid joints",
    -3: "old header time stamp",
    -4: "path tolerance violated",
    -5: "goal tolerance violated",
}
"""control_msgs/action/FollowJointTrajectory's error codes."""


_HOLD_TIME = 0.5
"""Seconds in which the setpoint goes back to where the arm stands."""


class TrajectoryMover:
    """Goes on a straight line in joint space, without looking for collisions.

    Args:
        client: `rclpy.action.ActionClient` of FollowJointTrajectory.
        action_type: control_msgs.action.FollowJointTrajectory.
        max_velocity: of any joint, rad/s.
        max_acceleration: of any joint, rad/s^2.
    """

    cancels_at_once = True

    def __init__(
        self, client: Any, action_type: Any, *, max_velocity: float, max_acceleration: float
    ) -> None:
        self._client = client
        self._type = action_type
        self._max_velocity = max_velocity
        self._max_acceleration = max_acceleration
        self._last: ActionMotion | None = None

    def missing(self) -> str:
        """Says so when there is no action server."""
        if self._client.server_is_ready():
            return ""
        return (
            f"no action server {getattr(self._client, '_action_name', '')}; is the robot's "
            "joint trajectory controller active?"
        )

    def start(self, request: MotionRequest, now: float) -> Motion:
        """Goes from where the arm is to the waypoints, at rest at each."""
        try:
            path = joint_path(
                [request.start, *(waypoint.array() for waypoint in request.waypoints)],
                max_velocity=self._max_velocity,
                max_acceleration=self._max_acceleration,
            )
        except ValueError as error:
            return FailedMotion(str(error))
        return self.follow(request.target.joints, path, now)

    def hold(self, where: JointTarget, now: float) -> Motion:
        """Takes the controller's setpoint back to where the arm stands."""
        rest = np.zeros(len(where.joints))
        return self.follow(where.joints, [PathPoint(_HOLD_TIME, where.array(), rest, rest)], now)

    def follow(self, joints: Sequence[str], path: Sequence[PathPoint], now: float) -> Motion:
        """Follows a path that starts where the arm is."""
        goal = self._type.Goal()
        goal.trajectory = trajectory_message(joints, path)
        self._last = ActionMotion(self._client, goal, explain_result, now)
        return self._last

    def unsettled(self, now: float) -> str:
        """What the last motion may still do although it was given up, in words."""
        return "" if self._last is None else self._last.unsettled(now)


def trajectory_message(joints: Sequence[str], path: Sequence[PathPoint]) -> JointTrajectory:
    """A trajectory that starts as soon as it is received (stamp zero)."""
    message = JointTrajectory(joint_names=list(joints))
    for point in path:
        fraction, seconds = math.modf(point.time)
        message.points.append(
            JointTrajectoryPoint(
                positions=point.positions.tolist(),
                velocities=point.velocities.tolist(),
                accelerations=point.accelerations.tolist(),
                time_from_start=Duration(sec=int(seconds), nanosec=int(fraction * 1e9)),
            )
        )
    return message


def explain_result(result: Any) -> str:
    """What a FollowJointTrajectory result complains about; empty for success."""
    code = int(result.error_code)
    if code == 0:
        return ""
    return f"{_ERROR_NAMES.get(code, f'error code {code}')} {result.error_string}".strip()
