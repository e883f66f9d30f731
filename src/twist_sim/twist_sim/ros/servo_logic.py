"""What MoveIt Servo (Jazzy, moveit_servo 2.12) does with a command, without ROS.

`ServoLogic` is advanced once per publish period with the present time. It decides whether the
last command still counts, turns it into a joint motion through the arm's Jacobian, and bounds
that motion: Cartesian speed, singularities, joint positions, velocities and accelerations.
The names of codes, parameters and thresholds are MoveIt Servo's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from twist_sim.ros.cartesian import approach_speed, clamp_norm, rotation_error
from twist_sim.ros.servo_interface import (
    CommandRejected,
    CommandType,
    PoseCommand,
    ServoTick,
    StatusCode,
    TwistCommand,
)

FloatArray = NDArray[np.float64]

_STANDSTILL = 1e-3
"""Joint speed below which a halted arm counts as standing, rad/s."""


class ArmKinematics(Protocol):
    """Geometry of the arm that Servo moves."""

    def tip_pose(self, positions: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Position (3,) in metres and rotation matrix (3, 3) of the IK tip in the base frame."""
        ...

    def tip_jacobian(self, positions: FloatArray) -> FloatArray:
        """(6, n): linear then angular velocity of the IK tip per joint velocity, base frame."""
        ...


@dataclass(frozen=True)
class JointLimits:
    """Limits of the arm's joints, each of shape (n,), radians and seconds."""

    lower: FloatArray
    upper: FloatArray
    velocity: FloatArray
    acceleration: FloatArray


@dataclass(frozen=True)
class ServoConfig:
    """Parameters, named and meant as in MoveIt Servo where it has them.

    Attributes:
        planning_frame: the only frame that commands may be given in.
        publish_period: seconds between two calls of `ServoLogic.tick`.
        incoming_command_timeout: seconds after its header stamp that a command counts.
        linear_scale: largest linear speed (``scale.linear``), m/s.
        rotational_scale: largest angular speed (``scale.rotational``), rad/s.
        linear_acceleration: braking with which a POSE target is approached, m/s^2.
        rotational_acceleration: the same for the orientation, rad/s^2.
        acceleration_scale: factor on the joints' acceleration limits. Joint set points may be more
            agile than the arm, whose position control smooths them.
        joint_limit_margin: distance kept from a joint's position limits, radians.
        lower_singularity_threshold: condition number of the Jacobian above which an approach
            is slowed down.
        hard_stop_singularity_threshold: condition number at which an approach is stopped.
        leaving_singularity_threshold_multiplier: how much later slowing down ends when the arm
            moves away from the singularity.
        posture_gain: how fast the redundant joint is drawn to the arm's posture without moving
            the tip, 1/s; 0 is MoveIt Servo's plain pseudo-inverse.
    """

    planning_frame: str = "panda_link0"
    publish_period: float = 0.01
    incoming_command_timeout: float = 0.1
    linear_scale: float = 0.25
    rotational_scale: float = 0.8
    linear_acceleration: float = 10.0
    rotational_acceleration: float = 10.0
    acceleration_scale: float = 3.0
    joint_limit_margin: float = 0.05
    lower_singularity_threshold: float = 17.0
    hard_stop_singularity_threshold: float = 30.0
    leaving_singularity_threshold_multiplier: float = 2.0
    posture_gain: float = 2.0

    def __post_init__(self) -> None:
        for name in (
            "publish_period",
            "incoming_command_timeout",
            "linear_scale",
            "rotational_scale",
            "linear_acceleration",
            "rotational_acceleration",
            "acceleration_scale",
            "lower_singularity_threshold",
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive and finite, found {value}")
        if self.hard_stop_singularity_threshold <= self.lower_singularity_threshold:
            raise ValueError(
                f"hard_stop_singularity_threshold ({self.hard_stop_singularity_threshold}) must "
                f"be above lower_singularity_threshold ({self.lower_singularity_threshold})"
            )


class ServoLogic:
    """State of Servo between two publish periods.

    All times are seconds of one clock; which one does not matter, as long as commands are stamped
    with it.

    Args:
        config: parameters.
        kinematics: of the arm.
        limits: of its n joints.
        posture: joint positions (n,) that a redundant arm keeps near to; None for none.
    """

    def __init__(
        self,
        config: ServoConfig,
        kinematics: ArmKinematics,
        limits: JointLimits,
        posture: FloatArray | None = None,
    ) -> None:
        self.config = config
        self._kinematics = kinematics
        self._limits = limits
        self._acceleration = limits.acceleration * config.acceleration_scale
        self._command_type: CommandType | None = None
        self._command: PoseCommand | TwistCommand | None = None
        self._invalid = False
        self._paused = False
        self._measured: FloatArray | None = None
        self._positions: FloatArray | None = None
        self._velocities = np.zeros(limits.lower.shape[0])
        self._posture = posture

    @property
    def paused(self) -> bool:
        """Whether `set_paused` paused Servo; it starts unpaused."""
        return self._paused

    @property
    def command_type(self) -> CommandType | None:
        """The kind of command that is accepted; None until one was chosen."""
        return self._command_type

    def switch_command_type(self, value: int) -> bool:
        """Chooses the kind of command; False for a kind that is not offered."""
        if value not in (CommandType.TWIST, CommandType.POSE):
            return False
        if value != self._command_type:
            self._command = None
        self._command_type = CommandType(value)
        return True

    def set_paused(self, paused: bool) -> None:
        """Pauses, or goes on from the measured joint positions with no command in force."""
        self._paused = paused
        self._rest()
        self._command = None
        self._invalid = False

    def update_joint_state(self, positions: FloatArray) -> None:
        """Takes measured joint positions, shape (n,), radians.

        Raises:
            CommandRejected: they are not n finite numbers.
        """
        if positions.shape != self._limits.lower.shape or not np.isfinite(positions).all():
            raise CommandRejected(
                f"expected {self._limits.lower.shape[0]} finite joint positions, "
                f"found {positions.tolist()}; check the robot's joint states"
            )
        self._measured = positions

    def accept(self, frame: str, command: PoseCommand | TwistCommand) -> None:
        """Takes a command; it counts until its stamp is too old or another one arrives.

        Raises:
            CommandRejected: not the chosen kind of command, another frame, or not finite. The
                previous command stays, and ends by its own time-out; the status is INVALID until
                a valid command arrives, except for the wrong kind, which only warns.
        """
        kind = CommandType.POSE if isinstance(command, PoseCommand) else CommandType.TWIST
        if self._command_type is None:
            raise CommandRejected(
                f"a {kind.name} command arrived but no command type has been set; call "
                "switch_command_type first"
            )
        if kind != self._command_type:
            raise CommandRejected(
                f"a {kind.name} command arrived but the command type is "
                f"{self._command_type.name}; call switch_command_type with {int(kind)} first"
            )
        if frame != self.config.planning_frame:
            self._invalid = True
            raise CommandRejected(
                f"a command is given in frame {frame!r}; this Servo takes commands in "
                f"{self.config.planning_frame!r} only"
            )
        if isinstance(command, PoseCommand):
            numbers = np.concatenate([command.position, command.rotation.ravel()])
        else:
            numbers = np.concatenate([command.linear, command.angular])
        if not np.isfinite(numbers).all():
            self._invalid = True
            raise CommandRejected(
                f"a {kind.name} command holds numbers that are not finite; it is ignored"
            )
        self._invalid = False
        self._command = command

    def tick(self, now: float) -> ServoTick | None:
        """Advances by one publish period; None while paused (no status, no motion)."""
        if self._paused:
            return None
        if self._measured is None:
            return ServoTick(StatusCode.INVALID if self._invalid else StatusCode.NO_WARNING)
        command = self._fresh_command(now)
        idle = self._positions is None
        if command is None and idle:
            return ServoTick(StatusCode.INVALID if self._invalid else StatusCode.NO_WARNING)
        if self._positions is None:
            self._positions = self._measured.copy()
            self._velocities = np.zeros_like(self._positions)

        status = StatusCode.NO_WARNING
        target = np.zeros_like(self._velocities)
        if command is not None:
            target, status = self._joint_velocities(command, self._positions)
        target, bounded = self._within_position_limits(target, self._positions)
        if bounded:
            status = StatusCode.JOINT_BOUND
        velocities = self._within_acceleration_limits(target)
        positions = self._positions + velocities * self.config.publish_period
        positions = np.clip(positions, self._limits.lower, self._limits.upper)
        self._positions, self._velocities = positions, velocities
        if self._invalid:
            status = StatusCode.INVALID
        if command is None and float(np.abs(velocities).max()) < _STANDSTILL:
            self._rest()
        return ServoTick(status, positions, velocities)

    def _rest(self) -> None:
        self._positions = None
        self._velocities = np.zeros_like(self._velocities)

    def _fresh_command(self, now: float) -> PoseCommand | TwistCommand | None:
        """The command in force, dropped once its stamp is too far from `now`."""
        command = self._command
        if command is None:
            return None
        if abs(now - command.stamp) >= self.config.incoming_command_timeout:
            self._command = None
            return None
        return command

    def _joint_velocities(
        self, command: PoseCommand | TwistCommand, positions: FloatArray
    ) -> tuple[FloatArray, StatusCode]:
        """Joint velocities (n,) that the command asks for, within speed limits."""
        config = self.config
        if isinstance(command, TwistCommand):
            linear = clamp_norm(command.linear, config.linear_scale)
            angular = clamp_norm(command.angular, config.rotational_scale)
        else:
            tip, rotation = self._kinematics.tip_pose(positions)
            linear = _approach(
                command.position - tip,
                config.linear_acceleration,
                config.linear_scale,
                config.publish_period,
            )
            angular = _approach(
                rotation_error(command.rotation, rotation),
                config.rotational_acceleration,
                config.rotational_scale,
                config.publish_period,
            )
        twist = np.concatenate([linear, angular])
        jacobian = self._kinematics.tip_jacobian(positions)
        left, singular, right = np.linalg.svd(jacobian, full_matrices=False)
        inverse = right.T @ ((left / np.maximum(singular, 1e-4)).T)
        velocities = inverse @ twist
        scale, status = self._singularity_scale(positions, twist, left, singular, inverse)
        if config.posture_gain > 0 and self._posture is not None:
            pull = config.posture_gain * (self._posture - positions)
            velocities = velocities + pull - inverse @ (jacobian @ pull)
        velocities = velocities * scale
        # All joints are slowed together, so that the tip keeps its path.
        excess = float((np.abs(velocities) / self._limits.velocity).max())
        return (velocities / excess if excess > 1 else velocities), status

    def _singularity_scale(
        self,
        positions: FloatArray,
        twist: FloatArray,
        left: FloatArray,
        singular: FloatArray,
        inverse: FloatArray,
    ) -> tuple[float, StatusCode]:
        """MoveIt Servo's velocity scaling for singularities."""
        config = self.config
        condition = float(singular[0] / max(float(singular[-1]), 1e-9))
        lower, hard = config.lower_singularity_threshold, config.hard_stop_singularity_threshold
        if condition <= lower:
            return 1.0, StatusCode.NO_WARNING
        # The sign of a singular vector is arbitrary: look which way the condition grows.
        towards = left[:, -1]
        ahead = self._kinematics.tip_jacobian(positions + inverse @ (towards / 100.0))
        values = np.linalg.svd(ahead, compute_uv=False)
        if float(values[0] / max(float(values[-1]), 1e-9)) < condition:
            towards = -towards
        if float(towards @ twist) > 0:
            if condition >= hard:
                return 0.0, StatusCode.HALT_FOR_SINGULARITY
            scale = 1.0 - (condition - lower) / (hard - lower)
            return scale, StatusCode.DECELERATE_FOR_APPROACHING_SINGULARITY
        upper = (hard - lower) * config.leaving_singularity_threshold_multiplier + lower
        if condition >= upper:
            return 1.0, StatusCode.NO_WARNING
        scale = 1.0 - (condition - lower) / (upper - lower)
        return scale, StatusCode.DECELERATE_FOR_LEAVING_SINGULARITY

    def _within_position_limits(
        self, velocities: FloatArray, positions: FloatArray
    ) -> tuple[FloatArray, bool]:
        """All joints are halted when one would come too near its position limit."""
        limits = self._limits
        # Way needed when this period still speeds up: the period itself, then braking.
        period = self.config.publish_period
        speed = np.abs(self._velocities) + self._acceleration * period
        way = speed * period + speed**2 / (2 * self._acceleration)
        margin = self.config.joint_limit_margin + way
        high = (positions > limits.upper - margin) & (velocities > 0)
        low = (positions < limits.lower + margin) & (velocities < 0)
        if bool((high | low).any()):
            return np.zeros_like(velocities), True
        return velocities, False

    def _within_acceleration_limits(self, target: FloatArray) -> FloatArray:
        """The next joint velocities: towards `target`, all joints changing in proportion."""
        change = target - self._velocities
        allowed = self._acceleration * self.config.publish_period
        excess = float((np.abs(change) / allowed).max())
        return self._velocities + (change / excess if excess > 1 else change)


def _approach(error: FloatArray, acceleration: float, speed: float, period: float) -> FloatArray:
    """Velocity that closes `error` (3,) with bounded braking and speed."""
    distance = math.sqrt(float(error @ error))
    if distance < 1e-9:
        return np.zeros(3)
    return error * (approach_speed(distance, acceleration, speed, period) / distance)
