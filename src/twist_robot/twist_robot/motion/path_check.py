"""What a planned path must be like to be followed, and how fast it is followed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from twist_robot.motion.joint_path import PathPoint
from twist_robot.motion.joint_targets import ArmLimits, FloatArray, JointTarget

_START_TOLERANCE = 0.05
"""Radians by which a planned path may begin away from the measured positions."""
_END_TOLERANCE = 0.01
"""Radians by which it may end away from the target."""
_REST = 0.01
"""rad/s that it may end with."""
_SLACK = 1.01
"""A plan at the very limit of a joint's velocity is good, whatever its rounding."""
_SAMPLES = 20
"""Places within a segment that are looked at."""
_CURE = "is moveit_config this arm's?"


def path_trouble(
    path: Sequence[PathPoint], start: FloatArray, target: JointTarget, limits: ArmLimits
) -> str:
    """What is wrong with a planned path, in words; empty when it may be followed.

    Every point counts, and what the trajectory controller makes of the way between two of them.

    Args:
        path: from the planner.
        start: where the arm is, radians.
        target: where it has to end.
        limits: of the arm.
    """
    if len(path) < 2:
        return "MoveIt planned an empty path"
    return (
        _nonsense(path, start.shape)
        or _wrong_ends(path, start, target)
        or _beyond_range(path, target.joints, limits)
        or _beyond_speed(path, target.joints, limits)
    )


def slowed(path: Sequence[PathPoint], max_velocity: float) -> list[PathPoint]:
    """The same way, in as much more time as it takes to keep the velocity.

    Args:
        path: one that `path_trouble` finds nothing wrong with.
        max_velocity: of any joint at any time, rad/s.
    """
    _, between = _interpolated(path)
    factor = max(1.0, float(np.max(np.abs(between))) / max_velocity)
    if factor == 1.0:
        return list(path)
    return [
        dataclasses.replace(
            point,
            time=point.time * factor,
            velocities=point.velocities / factor,
            accelerations=point.accelerations / factor**2,
        )
        for point in path
    ]


def _nonsense(path: Sequence[PathPoint], shape: tuple[int, ...]) -> str:
    arrays = [(p.positions, p.velocities, p.accelerations) for p in path]
    times = np.array([point.time for point in path])
    sound = (
        all(array.shape == shape for point in arrays for array in point)
        and np.isfinite(np.array(arrays)).all()
        and np.isfinite(times).all()
        and times[0] >= 0
        and (np.diff(times) > 0).all()
    )
    return "" if sound else "MoveIt planned a path with times or numbers that make no sense"


def _wrong_ends(path: Sequence[PathPoint], start: FloatArray, target: JointTarget) -> str:
    begin = float(np.max(np.abs(path[0].positions - start)))
    if begin > _START_TOLERANCE:
        return (
            f"MoveIt planned from elsewhere: {begin:.3f} rad away from the measured joints; does "
            "it listen to the arm's own joint states?"
        )
    end = float(np.max(np.abs(path[-1].positions - target.array())))
    if end > _END_TOLERANCE:
        return (
            f"MoveIt planned to a place {end:.3f} rad away from {target.name}: its configuration "
            "knows another posture by that name"
        )
    speed = float(np.max(np.abs(path[-1].velocities)))
    if speed > _REST:
        return f"MoveIt planned a path that ends at {speed:.3f} rad/s instead of at rest; {_CURE}"
    return ""


def _beyond_range(path: Sequence[PathPoint], joints: Sequence[str], limits: ArmLimits) -> str:
    between, _ = _interpolated(path)
    excess = np.maximum(limits.lower - between, between - limits.upper)
    place = np.unravel_index(int(np.argmax(excess)), excess.shape)
    if excess[place] <= 0:
        return ""
    joint = int(place[-1])
    return (
        f"MoveIt planned {joints[joint]} to {between[place]:.3f} rad, which the arm allows from "
        f"{limits.lower[joint]:.3f} to {limits.upper[joint]:.3f} rad; {_CURE}"
    )


def _beyond_speed(path: Sequence[PathPoint], joints: Sequence[str], limits: ArmLimits) -> str:
    """Looks at the velocities that are stated and at those that it takes to be there in time."""
    times = np.array([point.time for point in path])
    positions = np.array([point.positions for point in path])
    stated = np.array([point.velocities for point in path])
    needed = np.diff(positions, axis=0) / np.diff(times)[:, None]
    speeds = np.max(np.abs(np.concatenate([stated, needed])), axis=0)
    joint = int(np.argmax(speeds / limits.velocity))
    if speeds[joint] <= _SLACK * limits.velocity[joint]:
        return ""
    return (
        f"MoveIt planned {joints[joint]} at {speeds[joint]:.3f} rad/s, the arm can do "
        f"{limits.velocity[joint]:.3f} rad/s; {_CURE}"
    )


def _interpolated(path: Sequence[PathPoint]) -> tuple[FloatArray, FloatArray]:
    """Positions (rad) and velocities (rad/s) between the points, each (segments, samples, joints).

    A joint_trajectory_controller goes along the polynomial of fifth degree that has both points'
    positions, velocities and accelerations.
    """
    time = np.diff([point.time for point in path])[:, None]
    q = np.array([point.positions for point in path])
    v = np.array([point.velocities for point in path])
    a = np.array([point.accelerations for point in path])
    # With s from 0 to 1 along a segment; the derivatives at its ends by s.
    change = q[1:] - q[:-1]
    v0, v1 = v[:-1] * time, v[1:] * time
    a0, a1 = a[:-1] * time**2, a[1:] * time**2
    rows = np.stack(
        [
            q[:-1],
            v0,
            a0 / 2,
            10 * change - 6 * v0 - 4 * v1 - 1.5 * a0 + 0.5 * a1,
            -15 * change + 8 * v0 + 7 * v1 + 1.5 * a0 - a1,
            6 * change - 3 * v0 - 3 * v1 - 0.5 * a0 + 0.5 * a1,
        ]
    )
    s = np.linspace(0.0, 1.0, _SAMPLES + 1)
    power = np.arange(6)
    place = s[:, None] ** power
    speed = power * s[:, None] ** np.maximum(power - 1, 0)
    positions = np.einsum("sk,kij->isj", place, rows)
    velocities = np.einsum("sk,kij->isj", speed, rows) / time[:, None]
    return positions, velocities
