"""Where the arm is sent: a task's home, or the arm's own ``ready`` posture, checked for the arm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twist_sim.kinematics import DifferentialIk, KinematicsError
from twist_sim.task_card import TaskCard

FloatArray = NDArray[np.float64]

READY = (0.0, -math.pi / 4, 0.0, -3 * math.pi / 4, 0.0, math.pi / 2, math.pi / 4)
"""The posture that Franka's MoveIt configurations call ``ready``, radians."""
LIMIT_MARGIN = 0.05
"""Targets keep this distance from the joint limits, radians."""
_ALREADY_UP = 0.005
"""Metres below the home height that need no lifting."""


@dataclass(frozen=True)
class ArmLimits:
    """What an arm's joints can do.

    Attributes:
        lower: smallest joint positions, radians, (7,).
        upper: largest joint positions, radians, (7,).
        velocity: largest joint velocities, rad/s, (7,).
    """

    lower: FloatArray
    upper: FloatArray
    velocity: FloatArray


# Franka Robotics, robot and interface specifications. Both arms have the same kinematics
# (Denavit-Hartenberg parameters); their limits differ.
_LIMITS: Mapping[str, ArmLimits] = {
    "panda": ArmLimits(
        np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973]),
        np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973]),
        np.array([2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61]),
    ),
    "fr3": ArmLimits(
        np.array([-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159]),
        np.array([2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159]),
        np.array([2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26]),
    ),
}
ARMS = tuple(_LIMITS)
"""Arms whose limits are known."""


class TargetError(ValueError):
    """There is no safe joint target; the message names cause and cure."""


@dataclass(frozen=True)
class JointTarget:
    """Joint positions to go to.

    Attributes:
        name: for messages, e.g. ``home of block_push``.
        joints: joint names, in the order of `positions`.
        positions: radians.
    """

    name: str
    joints: tuple[str, ...]
    positions: tuple[float, ...]

    def array(self) -> FloatArray:
        """`positions` as an array."""
        return np.array(self.positions)


def joint_names(arm: str) -> tuple[str, ...]:
    """The seven joint names of an arm's driver, e.g. ``fr3_joint1``."""
    return tuple(f"{arm}_joint{number}" for number in range(1, 8))


def ready_target(arm: str) -> JointTarget:
    """The arm's ``ready`` posture."""
    return _checked(JointTarget("ready", joint_names(arm), READY), arm)


def arm_limits(arm: str) -> ArmLimits:
    """The limits of one of `ARMS`."""
    return _LIMITS[arm]


class HomeKinematics:
    """Joint targets for the tool positions of one task.

    Args:
        card: task card with home and tool.
        arm: ``panda`` or ``fr3``.

    Raises:
        TargetError: the arm is unknown, or its home is out of its reach.
    """

    def __init__(self, card: TaskCard, arm: str) -> None:
        if arm not in _LIMITS:
            raise TargetError(f"no arm {arm!r}; known: {', '.join(ARMS)}")
        self._card = card
        self._arm = arm
        self._ik = DifferentialIk.from_card(card)
        self.home = self._target(f"home of {card.task}", card.home.joints, card.home.tool_position)
        """The task's home."""

    def lifted(self, positions: Sequence[float]) -> JointTarget | None:
        """Straight above where the tool tip is, at the home height.

        Motions home go there first, so that the tool leaves what it touches upwards.

        Args:
            positions: measured joint positions, radians, 7 numbers.

        Returns:
            None when the tool is that high already.

        Raises:
            TargetError: the positions are not 7 finite numbers, or no such posture is found.
        """
        try:
            tip, _ = self._ik.forward(positions)
        except KinematicsError as error:
            raise TargetError(f"the measured joint positions are unusable: {error}") from error
        height = self._card.home.tool_position[2]
        if tip[2] >= height - _ALREADY_UP:
            return None
        above = (float(tip[0]), float(tip[1]), height)
        return self._target("above the present tool position", positions, above)

    def _target(
        self, name: str, start: Sequence[float], position: tuple[float, float, float]
    ) -> JointTarget:
        try:
            found = self._ik.solve_exactly(start, position, self._card.home.tool_orientation)
        except KinematicsError as error:
            raise TargetError(f"{name}: {error}") from error
        values = tuple(float(value) for value in found)
        return _checked(JointTarget(name, joint_names(self._arm), values), self._arm)


def _checked(target: JointTarget, arm: str) -> JointTarget:
    lower, upper = _LIMITS[arm].lower, _LIMITS[arm].upper
    values = target.array()
    outside = (values < lower + LIMIT_MARGIN) | (values > upper - LIMIT_MARGIN)
    if bool(outside.any()):
        joint = int(np.argmax(outside))
        raise TargetError(
            f"{target.name}: {target.joints[joint]} would be at {values[joint]:.3f} rad, the {arm} "
            f"allows {lower[joint] + LIMIT_MARGIN:.3f} to {upper[joint] - LIMIT_MARGIN:.3f} rad; "
            "move the arm to the middle of its range by hand, or choose another home"
        )
    return target
