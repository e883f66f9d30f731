"""A slow, smooth path through joint targets, at rest at each of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

_PEAK_VELOCITY = 1.875
"""Largest derivative of the minimum-jerk profile 10 s^3 - 15 s^4 + 6 s^5, at s = 1/2."""
_PEAK_ACCELERATION = 10 / math.sqrt(3)
"""Largest second derivative of that profile, at s = (3 - sqrt 3) / 6."""
_SHORTEST = 0.2
"""Seconds that a segment lasts at least."""


@dataclass(frozen=True)
class PathPoint:
    """One point: seconds from the start; rad, rad/s and rad/s^2, one number per joint."""

    time: float
    positions: FloatArray
    velocities: FloatArray
    accelerations: FloatArray


def joint_path(
    waypoints: Sequence[ArrayLike],
    *,
    max_velocity: float,
    max_acceleration: float,
    sample_period: float = 0.02,
) -> list[PathPoint]:
    """Samples a path through joint positions: minimum jerk from rest to rest between neighbours.

    All joints move together along the straight line in joint space (Flash and Hogan 1985).

    Args:
        waypoints: at least two, the first is where the arm is; radians, one number per joint.
        max_velocity: of any joint, rad/s.
        max_acceleration: of any joint, rad/s^2.
        sample_period: seconds between points.

    Returns:
        Points from time 0 to the end; the last one has zero velocity and acceleration.

    Raises:
        ValueError: fewer than two waypoints, different sizes, or a number is not finite or not
            positive.
    """
    for name, value in (
        ("max_velocity", max_velocity),
        ("max_acceleration", max_acceleration),
        ("sample_period", sample_period),
    ):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive and finite, found {value}")
    arrays = [np.asarray(waypoint, dtype=np.float64) for waypoint in waypoints]
    if len(arrays) < 2 or len({array.shape for array in arrays}) != 1:
        raise ValueError("a path needs at least two waypoints with as many numbers each")
    if not all(bool(np.isfinite(array).all()) for array in arrays):
        raise ValueError("waypoints must be finite")
    start = arrays[0]
    points = [PathPoint(0.0, start, np.zeros_like(start), np.zeros_like(start))]
    for begin, end in itertools.pairwise(arrays):
        points += _segment(
            points[-1].time, begin, end, max_velocity, max_acceleration, sample_period
        )
    return points


def _segment(
    offset: float,
    begin: FloatArray,
    end: FloatArray,
    max_velocity: float,
    max_acceleration: float,
    sample_period: float,
) -> list[PathPoint]:
    change = end - begin
    largest = float(np.max(np.abs(change)))
    duration = max(
        _SHORTEST,
        _PEAK_VELOCITY * largest / max_velocity,
        math.sqrt(_PEAK_ACCELERATION * largest / max_acceleration),
    )
    count = max(1, math.ceil(duration / sample_period))
    points = []
    for index in range(1, count + 1):
        s = index / count
        place = s**3 * (10 - 15 * s + 6 * s**2)
        speed = 30 * s**2 * (1 - s) ** 2 / duration
        pull = 60 * s * (1 - s) * (1 - 2 * s) / duration**2
        points.append(
            PathPoint(offset + s * duration, begin + place * change, speed * change, pull * change)
        )
    return points
