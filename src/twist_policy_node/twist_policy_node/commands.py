"""What Servo is told: pose targets or twists for the IK tip, both bounded."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twist_policy.contract import PolicyContract
from twist_policy_node.tool_frame import ToolFrame, rotation_vector

FloatArray = NDArray[np.float64]

_TURN_LIMIT = 0.5
"""Largest angular speed with which a twist corrects the orientation, rad/s."""


class CommandMode(enum.Enum):
    """Which kind of command Servo gets."""

    POSE = "pose"
    TWIST = "twist"


@dataclass(frozen=True)
class ToolPose:
    """A measured pose.

    Attributes:
        tool_tip: tool tip, metres, base frame, (3,).
        orientation: of the IK tip in the base frame, (w, x, y, z), unit length.
        captured: when it was measured, seconds on the steady clock.
        received: when it arrived, seconds on the steady clock.
    """

    tool_tip: FloatArray
    orientation: FloatArray
    captured: float
    received: float


@dataclass(frozen=True)
class PoseCommand:
    """Target pose of the IK tip: position in metres (3,), orientation (w, x, y, z), base frame."""

    position: FloatArray
    orientation: FloatArray


@dataclass(frozen=True)
class TwistCommand:
    """Velocity of the IK tip: linear in m/s (3,), angular in rad/s (3,), base frame."""

    linear: FloatArray
    angular: FloatArray

    @classmethod
    def zero(cls) -> TwistCommand:
        """Standing still."""
        return cls(np.zeros(3), np.zeros(3))


Command = PoseCommand | TwistCommand


class CommandShaper:
    """Turns tool-tip targets into Servo commands.

    In ``pose`` mode a command is the target pose in the held orientation: it bounds the motion
    whatever the timing, and sending it again changes nothing. In ``twist`` mode it is the velocity
    that makes the step within one control period, plus a proportional correction towards the
    target's path and the held orientation; its speed never exceeds action bound / control period.

    Args:
        contract: bounds, control period, tool.
        mode: which kind of command.
        position_gain: correction of the position in ``twist`` mode, 1/s.
        orientation_gain: correction of the orientation in ``twist`` mode, 1/s.
        lag: by how much the arm follows a twist later, seconds. Without it the correction would
            take the lag for an error, and the arm would overshoot where a motion ends.
    """

    def __init__(
        self,
        contract: PolicyContract,
        mode: CommandMode,
        *,
        position_gain: float = 2.0,
        orientation_gain: float = 2.0,
        lag: float = 0.05,
    ) -> None:
        self.mode = mode
        self.tool = ToolFrame(contract)
        self.speed_limit = contract.action_bound / contract.control_period
        """Largest linear speed of a twist, m/s; see `limit_speed`."""
        self._step_limit = contract.action_bound
        self._period = contract.control_period
        self._position_gain = position_gain
        self._orientation_gain = orientation_gain
        self._lag = lag
        self._lower = np.asarray(contract.workspace.lower, dtype=np.float64)
        self._upper = np.asarray(contract.workspace.upper, dtype=np.float64)

    def limit_speed(self, share: float) -> None:
        """Lets a twist use only a share of action bound / control period."""
        self.speed_limit = share * self._step_limit / self._period

    def move(
        self,
        target: FloatArray,
        delta: FloatArray,
        pose: ToolPose,
        previous: Command | None = None,
    ) -> Command:
        """The command for one step.

        Args:
            target: tool-tip target, metres, base frame, (3,).
            delta: target minus the previous target, metres, (3,).
            pose: measured pose at the decision.
            previous: the command that the arm follows now; None when it stands.
        """
        if self.mode is CommandMode.POSE:
            return PoseCommand(self.tool.ik_target(target), self.tool.orientation)
        behind = target - delta - pose.tool_tip
        if isinstance(previous, TwistCommand):
            behind = behind - self._lag * previous.linear
        tip_velocity = delta / self._period + self._position_gain * behind
        turn = self._orientation_gain * rotation_vector(self.tool.orientation, pose.orientation)
        angular = _shortened(turn, _TURN_LIMIT)
        # Turning about the IK tip must not move the tool tip.
        linear = tip_velocity - np.cross(angular, self.tool.offset_in_base(pose.orientation))
        return TwistCommand(_shortened(linear, self.speed_limit), angular)

    def after_step(self, command: Command) -> Command:
        """What follows a step whose control period is over: the same target, or zero velocity."""
        return command if isinstance(command, PoseCommand) else TwistCommand.zero()

    def hold(self, pose: ToolPose | None) -> Command | None:
        """Standing still as the tool was last measured, inside the workspace.

        None when that cannot be said: without a measured pose no pose command is safe, and far
        outside the workspace holding would mean a motion back into it.
        """
        if self.mode is CommandMode.TWIST:
            return TwistCommand.zero()
        if pose is None:
            return None
        target = np.clip(pose.tool_tip, self._lower, self._upper)
        if float(np.linalg.norm(target - pose.tool_tip)) > self._step_limit:
            return None
        position = target - self.tool.offset_in_base(pose.orientation)
        return PoseCommand(position, pose.orientation)


def _shortened(vector: FloatArray, limit: float) -> FloatArray:
    norm = float(np.linalg.norm(vector))
    if norm <= limit:
        return vector
    shortened: FloatArray = vector * (limit / norm)
    return shortened
