"""Motions through franka_ros2's point-to-point action, which runs inside the driver (FR3)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from twist_robot.motion.action_motion import ActionMotion
from twist_robot.motion.motions import Motion, MotionRequest, MotionSequence

_TARGET_REACHED = 2  # franka_msgs/msg/TargetStatus
SwitchController = Callable[[bool, float], Motion]
"""Activates (True) or deactivates (False) the arm's controller, at a time in seconds."""


class PtpMover:
    """The driver plans each way itself: a straight line in joint space, no look for collisions.

    The driver moves either by a controller or by this action, never by both: the arm's controller
    is deactivated before and activated again after the motion, also after a failed one.

    Args:
        client: `rclpy.action.ActionClient` of PTPMotion.
        action_type: franka_msgs.action.PTPMotion.
        max_velocity: of any joint, rad/s.
        tolerance: radians within which the driver calls the target reached.
        switch_controller: switches the arm's controller; None when none is active.
    """

    def __init__(
        self,
        client: Any,
        action_type: Any,
        *,
        max_velocity: float,
        tolerance: float,
        switch_controller: SwitchController | None,
    ) -> None:
        self._client = client
        self._type = action_type
        self._max_velocity = max_velocity
        self._tolerance = tolerance
        self._switch = switch_controller
        self._last: ActionMotion | None = None

    def missing(self) -> str:
        """Says so when there is no action server."""
        if self._client.server_is_ready():
            return ""
        return (
            f"no action server {getattr(self._client, '_action_name', '')}; is the driver "
            "(franka_ros2, for the FR3) running?"
        )

    def start(self, request: MotionRequest, now: float) -> Motion:
        """Goes to the waypoints one after the other."""
        stages: list[Callable[[float], Motion]] = []
        for waypoint in request.waypoints:
            goal = self._type.Goal()
            goal.goal_joint_configuration = list(waypoint.positions)
            goal.maximum_joint_velocities = [self._max_velocity] * len(waypoint.positions)
            goal.goal_tolerance = self._tolerance
            stages.append(functools.partial(self._go, goal))
        switch = self._switch
        if switch is None:
            return MotionSequence(stages, now)
        stages.insert(0, lambda at: switch(False, at))
        return MotionSequence(stages, now, finally_=lambda at: switch(True, at))

    def unsettled(self, now: float) -> str:
        """What the last motion may still do although it was given up, in words."""
        return "" if self._last is None else self._last.unsettled(now)

    def _go(self, goal: Any, now: float) -> Motion:
        self._last = ActionMotion(self._client, goal, _explain, now)
        return self._last


def _explain(result: Any) -> str:
    if int(result.target_status.status) == _TARGET_REACHED:
        return ""
    return str(result.error_message) or f"target status {result.target_status.status}"
