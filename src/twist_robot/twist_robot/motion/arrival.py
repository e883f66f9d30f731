"""Whether the arm is where it was sent, judged by its joint states and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twist_robot.motion.joint_targets import JointTarget


@dataclass(frozen=True)
class JointReading:
    """One joint state.

    Attributes:
        received: when it arrived, seconds on the steady clock.
        positions: radians by joint name.
        velocities: rad/s by joint name; joints that report none are missing.
    """

    received: float
    positions: Mapping[str, float]
    velocities: Mapping[str, float]

    @classmethod
    def from_lists(
        cls,
        received: float,
        names: Sequence[str],
        positions: Sequence[float],
        velocities: Sequence[float],
    ) -> JointReading:
        """Reads the lists of a sensor_msgs/JointState; numbers that are not finite are left out."""
        return cls(
            received,
            {n: p for n, p in zip(names, positions, strict=False) if math.isfinite(p)},
            {n: v for n, v in zip(names, velocities, strict=False) if math.isfinite(v)},
        )

    def of(self, joints: Sequence[str]) -> list[float] | None:
        """Positions of `joints` in that order, radians; None when one is missing."""
        found = [self.positions.get(joint) for joint in joints]
        return [value for value in found if value is not None] if None not in found else None


class ArrivalCheck:
    """Arrived: every joint within the tolerance and at rest, for a while.

    Args:
        target: where the arm was sent.
        tolerance: radians.
        rest: rad/s below which a joint is at rest.
        hold: seconds that both have to be true for.
    """

    def __init__(
        self, target: JointTarget, *, tolerance: float, rest: float = 0.02, hold: float = 0.2
    ) -> None:
        self._target = target
        self._tolerance = tolerance
        self._rest = rest
        self._hold = hold
        self._since: float | None = None
        self._last: JointReading | None = None

    def update(self, reading: JointReading) -> bool:
        """Takes a joint state; returns whether the arm has arrived."""
        self._last = reading
        if self._trouble(reading):
            self._since = None
            return False
        if self._since is None:
            self._since = reading.received
        return reading.received - self._since >= self._hold

    @property
    def error(self) -> float:
        """Largest distance of a joint from the target, radians; infinite while nothing is known."""
        return max(self._errors(self._last) or [math.inf]) if self._last else math.inf

    def explain(self) -> str:
        """What is wrong, in words, with numbers."""
        if self._last is None:
            return "no joint state arrived"
        return self._trouble(self._last) or f"the arm was at {self._target.name} for too short"

    def _trouble(self, reading: JointReading) -> str:
        errors = self._errors(reading)
        if errors is None:
            missing = [j for j in self._target.joints if j not in reading.positions]
            return f"the joint states lack {', '.join(missing)}"
        worst = max(range(len(errors)), key=errors.__getitem__)
        if errors[worst] > self._tolerance:
            return (
                f"{self._target.joints[worst]} is {errors[worst]:.3f} rad away from "
                f"{self._target.name} (tolerance {self._tolerance:g} rad)"
            )
        speeds = [abs(reading.velocities.get(joint, 0.0)) for joint in self._target.joints]
        fastest = max(range(len(speeds)), key=speeds.__getitem__)
        if speeds[fastest] > self._rest:
            return f"{self._target.joints[fastest]} still moves at {speeds[fastest]:.3f} rad/s"
        return ""

    def _errors(self, reading: JointReading) -> list[float] | None:
        """How far each joint is from the target, radians; None when one is missing."""
        positions = reading.of(self._target.joints)
        if positions is None:
            return None
        return [
            abs(measured - wanted)
            for measured, wanted in zip(positions, self._target.positions, strict=True)
        ]
