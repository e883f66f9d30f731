"""What a Franka gripper does with a command, and when it is over. No ROS, no simulator.

Move, Grasp and Homing as libfranka's gripper executes them: the fingers go until they are where
they were told or until something stops them; a grasp succeeded when they stopped within its
tolerances.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from twist_sim.task_card import HAND_WIDTH

HOMING_SPEED = 0.05
HOMING_FORCE = 20.0

_REACHED = 0.002
"""How far from its width a move may end, metres."""
_STILL = 0.0005
"""The fingers stand when their distance changed by less than this within `_STILL_TIME`, metres."""
_STILL_TIME = 0.1
_START_TIME = 0.5
"""Time in which the fingers have begun to move, if they can, seconds."""


class GripperRefusal(ValueError):
    """A command that the gripper does not execute, in words."""


@dataclass(frozen=True)
class FingerCommand:
    """Where the fingers are driven.

    Attributes:
        width: to which distance, metres.
        speed: change of the distance, metres per second.
        force: with which they push at most, newtons; None for the gripper's own.
        grasping: whether they are to close around something.
    """

    width: float
    speed: float
    force: float | None = None
    grasping: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a motion ended: as in the results of Franka's actions."""

    success: bool
    error: str = ""


class GripperMotion:
    """One action under way.

    Args:
        commands: what the fingers are driven to, one after the other.
        lowest: smallest width at the end that is a success, metres.
        highest: largest width at the end that is a success, metres.
    """

    def __init__(self, commands: Sequence[FingerCommand], lowest: float, highest: float) -> None:
        self._commands = list(commands)
        self._lowest = lowest
        self._highest = highest
        self._widths: list[tuple[float, float]] = []
        self._began = math.nan
        self._moved = False

    @classmethod
    def move(cls, width: float, speed: float) -> GripperMotion:
        """To a width.

        Raises:
            GripperRefusal: the width or the speed is out of range.
        """
        _check(width, speed)
        return cls([FingerCommand(width, speed)], width - _REACHED, width + _REACHED)

    @classmethod
    def grasp(
        cls, width: float, speed: float, force: float, inner: float, outer: float
    ) -> GripperMotion:
        """Closes until something resists.

        Args:
            width: of what is grasped, metres.
            speed: metres per second.
            force: newtons.
            inner: how much narrower than `width` a success may be, metres.
            outer: how much wider than `width` a success may be, metres.

        Raises:
            GripperRefusal: a number is out of range.
        """
        _check(width, speed)
        numbers = (force, inner, outer)
        if not all(map(math.isfinite, numbers)) or force <= 0 or inner < 0 or outer < 0:
            raise GripperRefusal(
                f"a grasp needs a positive force and tolerances of at least 0, found {force} N, "
                f"{inner} m and {outer} m"
            )
        close = FingerCommand(0.0, speed, force, grasping=True)
        return cls([close], width - inner, width + outer)

    @classmethod
    def homing(cls) -> GripperMotion:
        """Closes, then opens as wide as it goes."""
        close = FingerCommand(0.0, HOMING_SPEED, HOMING_FORCE)
        wide = FingerCommand(HAND_WIDTH, HOMING_SPEED)
        return cls([close, wide], HAND_WIDTH - _REACHED, HAND_WIDTH + _REACHED)

    def advance(self, width: float, now: float) -> FingerCommand | Outcome | None:
        """Time passed.

        Args:
            width: measured distance between the fingers, metres.
            now: simulated time, seconds.

        Returns:
            A command to drive the fingers with from now on, the outcome, or None to go on.
        """
        if not self._widths:
            return self._begin(width, now)
        self._widths.append((now, width))
        while now - self._widths[1][0] >= _STILL_TIME:
            self._widths.pop(0)
        since, before = self._widths[0]
        moving = abs(width - before) >= _STILL
        self._moved = self._moved or moving
        if moving or now - since < _STILL_TIME:
            return None
        if not self._moved and now - self._began < _START_TIME:
            return None
        self._commands.pop(0)
        if self._commands:
            return self._begin(width, now)
        return Outcome(self._lowest <= width <= self._highest)

    def _begin(self, width: float, now: float) -> FingerCommand:
        self._widths = [(now, width), (now, width)]
        self._began, self._moved = now, False
        return self._commands[0]


def _check(width: float, speed: float) -> None:
    if not 0.0 <= width <= HAND_WIDTH:
        raise GripperRefusal(f"the width must be within 0..{HAND_WIDTH} m, found {width}")
    if not (math.isfinite(speed) and speed > 0):
        raise GripperRefusal(f"the speed must be positive and finite, found {speed} m/s")
