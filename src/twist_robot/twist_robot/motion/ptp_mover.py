"""Motions through franka_ros2's point-to-point action, which runs inside the driver (FR3)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from twist_robot.motion.action_motion import ActionMotion
from twist_robot.motion.joint_targets import JointTarget
from twist_robot.motion.motions import Motion, MotionRequest, MotionSequence, MotionState

_TARGET_REACHED = 2  # franka_msgs/msg/TargetStatus
_SETTLE_TIMEOUT = 3.0
"""Seconds in which a goal that was given up has to end, so that the controller is activated again.

Less than a cancelled motion has (`homing`), so that whoever asked for it is told.
"""
_NO_CANCEL = "the FR3's driver takes a cancel only when its own motion is over"
SwitchController = Callable[[bool, float], Motion]
"""Activates (True) or deactivates (False) the arm's controller, at a time in seconds."""


class PtpMover:
    """The driver plans each way itself: a straight line in joint space, no look for collisions.

    The driver moves either by a controller or by this action, never by both: the arm's controller
    is deactivated before and activated again after the motion, also after a failed one. It is not
    activated while a goal may still move the arm, and stays off when that lasts too long.

    franka_ros2 (3.4) runs the motion inside the callback that accepted its goal, and looks at a
    cancel request only when the motion is over: only the emergency stop ends it before.

    Args:
        client: `rclpy.action.ActionClient` of PTPMotion.
        action_type: franka_msgs.action.PTPMotion.
        max_velocity: of any joint, rad/s.
        tolerance: radians within which the driver calls the target reached.
        switch_controller: switches the arm's controller; None when none is active.
        controller: its name, for the message that it stays off.
    """

    cancels_at_once = False

    def __init__(
        self,
        client: Any,
        action_type: Any,
        *,
        max_velocity: float,
        tolerance: float,
        switch_controller: SwitchController | None,
        controller: str = "<the arm's controller>",
    ) -> None:
        self._client = client
        self._type = action_type
        self._max_velocity = max_velocity
        self._tolerance = tolerance
        self._switch = switch_controller
        self._controller_off = (
            f"the controller {controller} stays off: when the arm stands still, switch it on with "
            f"ros2 control switch_controllers --activate {controller}"
        )
        self._off = False
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
        stages.insert(0, functools.partial(self._switch_to, switch, False))
        return MotionSequence(stages, now, finally_=functools.partial(self._restore, switch))

    def hold(self, where: JointTarget, now: float) -> None:
        """Nothing pulls: the driver's motion ends, and a controller begins where the arm is."""

    def unsettled(self, now: float) -> str:
        """What the last motion may still do although it was given up, in words.

        Says so as well when the arm's controller is off because of it.
        """
        trouble = self._goal_unsettled(now)
        return f"{trouble}; {self._controller_off}" if trouble and self._off else trouble

    def _goal_unsettled(self, now: float) -> str:
        trouble = "" if self._last is None else self._last.unsettled(now)
        return f"{trouble} ({_NO_CANCEL})" if trouble else ""

    def _switch_to(self, switch: SwitchController, active: bool, now: float) -> Motion:
        self._off = not active
        return switch(active, now)

    def _restore(self, switch: SwitchController, now: float) -> Motion:
        """Activates the controller, but never beside a goal that may still move the arm."""
        stages: list[Callable[[float], Motion]] = [functools.partial(self._switch_to, switch, True)]
        if self._goal_unsettled(now):
            stages.insert(0, lambda at: _GoalEnd(self._goal_unsettled, self._controller_off, at))
        return MotionSequence(stages, now)

    def _go(self, goal: Any, now: float) -> Motion:
        self._last = ActionMotion(self._client, goal, _explain, now)
        return self._last


class _GoalEnd:
    """Waits until a goal that was given up has ended.

    Args:
        unsettled: what the goal may still do at a time in seconds; empty when nothing.
        otherwise: the message when it does not end in time.
        now: seconds on the steady clock.
    """

    def __init__(self, unsettled: Callable[[float], str], otherwise: str, now: float) -> None:
        self.message = ""
        self._unsettled = unsettled
        self._otherwise = otherwise
        self._deadline = now + _SETTLE_TIMEOUT

    def poll(self, now: float) -> MotionState:
        """How it stands; to look is to ask again that the goal is cancelled."""
        if not self._unsettled(now):
            return MotionState.DONE
        if now <= self._deadline:
            return MotionState.RUNNING
        self.message = (
            f"that goal has not ended within another {_SETTLE_TIMEOUT:g} s, so {self._otherwise}"
        )
        return MotionState.FAILED

    def cancel(self) -> None:
        """The goal is being cancelled already."""


def _explain(result: Any) -> str:
    if int(result.target_status.status) == _TARGET_REACHED:
        return ""
    return str(result.error_message) or f"target status {result.target_status.status}"
