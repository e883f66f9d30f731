"""What Servo is told: pose targets or twists for the IK tip, both bounded."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twist_policy.action_gate import GateError
from twist_policy.contract import PolicyContract
from twist_policy_node.tool_frame import ToolFrame, rotation_vector, turned

FloatArray = NDArray[np.float64]

_TURN_LIMIT = 0.5
"""Largest angular speed with which the tool is turned upright at full speed, rad/s."""
_SWING_SHARE = 0.5
"""Largest share of the speed limit with which the IK tip swings about the tool tip meanwhile."""
_ROUNDING = 1.0 + 1e-6
"""The gate's bounds hold up to the rounding of additions."""


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
    whatever the timing, and sending it again changes nothing. Servo takes the whole way to such a
    target at once, so that commands lead from where the tool was at the start: no two in a row are
    further apart than one control period allows, also when the tool starts tilted or beside the
    workspace. In ``twist`` mode it is the velocity that makes the step within one control period,
    plus a proportional correction towards the target's path and the held orientation; its speed
    never exceeds action bound / control period.

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
        self._step_limit, self._leash = contract.action_bound, contract.leash
        self._period = contract.control_period
        self._position_gain = position_gain
        self._orientation_gain = orientation_gain
        self._lag = lag
        self._lower = np.asarray(contract.workspace.lower, dtype=np.float64)
        self._upper = np.asarray(contract.workspace.upper, dtype=np.float64)
        self._commanded: tuple[FloatArray, FloatArray] | None = None
        self.limit_speed(1.0)

    def limit_speed(self, share: float) -> None:
        """Lets commands use only a share of action bound / control period."""
        self.speed_limit = share * self._step_limit / self._period
        """Largest linear speed, of tool tip and of a twist, m/s."""
        reach = float(np.linalg.norm(self.tool.offset_in_base(self.tool.orientation)))
        self._turn_limit = min(
            share * _TURN_LIMIT, _SWING_SHARE * self.speed_limit / max(reach, 1e-3)
        )

    def start(self, pose: ToolPose) -> None:
        """Starts an episode: the first command leads on from `pose`."""
        self._commanded = (pose.tool_tip, pose.orientation)

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

        Raises:
            GateError: the arm was moved while it was being led in.
        """
        if self.mode is CommandMode.POSE:
            return self._lead_on(target, pose)
        behind = target - delta - pose.tool_tip
        if isinstance(previous, TwistCommand):
            behind = behind - self._lag * previous.linear
        tip_velocity = delta / self._period + self._position_gain * behind
        turn = self._orientation_gain * rotation_vector(self.tool.orientation, pose.orientation)
        angular = shortened(turn, self._turn_limit)
        # Turning about the IK tip must not move the tool tip.
        swing = np.cross(angular, self.tool.offset_in_base(pose.orientation))
        left = self.speed_limit - float(np.linalg.norm(swing))
        return TwistCommand(shortened(tip_velocity, left) - swing, angular)

    def _lead_on(self, target: FloatArray, pose: ToolPose) -> PoseCommand:
        """The pose towards `target` that is within reach of the last one in a control period."""
        tip, orientation = self._commanded or (pose.tool_tip, pose.orientation)
        way, reach = target - tip, _ROUNDING * self.speed_limit * self._period
        turn = rotation_vector(self.tool.orientation, orientation)
        most = self._turn_limit * self._period
        far, tilted = np.linalg.norm(way) > reach, np.linalg.norm(turn) > most
        tip = tip + shortened(way, reach) if far else target
        orientation = (
            turned(orientation, shortened(turn, most)) if tilted else self.tool.orientation
        )
        away = float(np.linalg.norm(tip - pose.tool_tip))
        if (far or tilted) and away > _ROUNDING * self._leash:  # the gate looks at the target alone
            raise GateError(
                f"the tool is {away:.3f} m away from where it is being led at the start (leash "
                f"{self._leash} m): the arm did not follow or was moved; move it home"
            )
        self._commanded = tip, orientation
        return PoseCommand(tip - self.tool.offset_in_base(orientation), orientation)

    def give_way(
        self, command: Command, way: FloatArray, target: FloatArray, pose: ToolPose
    ) -> Command:
        """What `command` becomes in the middle of its control period, when the tool gives way.

        Args:
            command: which the arm follows now.
            way: by how much the target has been taken back, metres, base frame, (3,).
            target: the new one, of the tool tip, metres, base frame, (3,).
            pose: measured.

        Raises:
            GateError: the arm was moved while it was being led in.
        """
        if isinstance(command, PoseCommand):
            return self._lead_on(target, pose)
        back = way / np.linalg.norm(way)
        against = min(0.0, float(command.linear @ back))
        return TwistCommand(command.linear - against * back, command.angular)

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


def shortened(vector: FloatArray, limit: float) -> FloatArray:
    """`vector`, no longer than `limit`."""
    norm = float(np.linalg.norm(vector))
    if norm <= limit:
        return vector
    short: FloatArray = vector * (limit / norm)
    return short
