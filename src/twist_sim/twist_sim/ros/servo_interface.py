"""What goes into Servo and what comes out of it: MoveIt Servo's codes, commands and results."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class CommandType(enum.IntEnum):
    """Values of ``ServoCommandType.command_type``."""

    JOINT_JOG = 0
    TWIST = 1
    POSE = 2


class StatusCode(enum.IntEnum):
    """Values of ``ServoStatus.code``."""

    INVALID = -1
    NO_WARNING = 0
    DECELERATE_FOR_APPROACHING_SINGULARITY = 1
    HALT_FOR_SINGULARITY = 2
    DECELERATE_FOR_LEAVING_SINGULARITY = 3
    DECELERATE_FOR_COLLISION = 4
    HALT_FOR_COLLISION = 5
    JOINT_BOUND = 6


STATUS_MESSAGES = {
    StatusCode.INVALID: "Invalid",
    StatusCode.NO_WARNING: "No warnings",
    StatusCode.DECELERATE_FOR_APPROACHING_SINGULARITY: (
        "Moving closer to a singularity, decelerating"
    ),
    StatusCode.HALT_FOR_SINGULARITY: "Very close to a singularity, emergency stop",
    StatusCode.DECELERATE_FOR_LEAVING_SINGULARITY: "Moving away from a singularity, decelerating",
    StatusCode.DECELERATE_FOR_COLLISION: "Close to a collision, decelerating",
    StatusCode.HALT_FOR_COLLISION: "Collision detected, emergency stop",
    StatusCode.JOINT_BOUND: "Close to a joint bound (position or velocity), halting",
}


@dataclass(frozen=True)
class PoseCommand:
    """Target pose of the IK tip: `position` (3,) metres, `rotation` (3, 3), planning frame."""

    stamp: float
    position: FloatArray
    rotation: FloatArray


@dataclass(frozen=True)
class TwistCommand:
    """Velocity of the IK tip: `linear` (3,) m/s, `angular` (3,) rad/s, planning frame."""

    stamp: float
    linear: FloatArray
    angular: FloatArray


@dataclass(frozen=True)
class ServoTick:
    """Result of one publish period.

    Attributes:
        status: what Servo reports.
        positions: joint positions to command, shape (n,); None when nothing is to be sent.
        velocities: joint velocities at `positions`, shape (n,); None as `positions`.
    """

    status: StatusCode
    positions: FloatArray | None = None
    velocities: FloatArray | None = None


class CommandRejected(ValueError):
    """A command cannot be accepted; the message says why and what to do."""
