"""What a planned path must be like to be followed, and how fast it is followed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from twist_robot.motion.joint_path import PathPoint
from twist_robot.motion.joint_targets import ArmLimits, FloatArray, JointTarget

_START_TOLERANCE = 0.05
"""Radians by which a planned path may begin away from the measured positions."""
_END_TOLERANCE = 0.01
"""Radians by which it may end away from the target."""
_REST = 0.01
"""rad/s that it may begin and end with."""
_SAME = 1e-6
"""Radians of rounding within which a first point is where the arm stands."""
_LEAD = 1.0
"""Seconds for the way to a first point that states no time for it (0 s) and is not `_SAME`.

Even a way of `_START_TOLERANCE` needs no more than 0.1 rad/s and 0.3 rad/s^2 then.
"""
_SLACK = 1.01
"""A plan at the very limit of a joint's velocity is good, whatever its rounding."""
_SAMPLES = 100
"""Places within a segment that are looked at; between them a peak is at most some 0.05 % higher."""
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
    trouble = _nonsense(path, start.shape) or _wrong_ends(path, start, target)
    if trouble:
        return trouble
    whole = from_rest(path, start)
    return _beyond_range(whole, target.joints, limits) or _beyond_speed(
        whole, target.joints, limits
    )


def from_rest(path: Sequence[PathPoint], start: FloatArray) -> list[PathPoint]:
    """The whole way, from where the arm stands: with `start` before it, at time 0 and at rest.

    MoveIt's plans begin at time 0 where MoveIt saw the arm, some noise away from `start`. Sent like
    that, the controller would jump there; so the path begins `_LEAD` later.

    Args:
        path: whose ends are good.
        start: where the arm is, radians.
    """
    first, zero = path[0], np.zeros_like(start)
    if first.time > 0:
        lead = 0.0
    elif float(np.max(np.abs(first.positions - start))) <= _SAME:
        return list(path)
    else:
        lead = _LEAD
        # The way to it ends at rest: nothing swings back before the planned acceleration.
        first = dataclasses.replace(first, velocities=zero, accelerations=zero)
    later = [dataclasses.replace(p, time=p.time + lead) for p in (first, *path[1:])]
    return [PathPoint(0.0, start, zero, zero), *later]


def slowed(
    path: Sequence[PathPoint], max_velocity: float, max_acceleration: float
) -> list[PathPoint]:
    """The same way, in as much more time as it takes to keep velocity and acceleration.

    In s times the time, the polynomials of `_interpolated` keep their shape: velocities are divided
    by s, and accelerations by s^2.

    Args:
        path: `from_rest` of one that `path_trouble` finds nothing wrong with.
        max_velocity: of any joint at any time, rad/s.
        max_acceleration: of any joint at any time, rad/s^2.
    """
    _, velocities, accelerations = _interpolated(path)
    factor = max(
        1.0,
        float(np.max(np.abs(velocities))) / max_velocity,
        math.sqrt(float(np.max(np.abs(accelerations))) / max_acceleration),
    )
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
    for point, word in ((path[0], "begins"), (path[-1], "ends")):
        speed = float(np.max(np.abs(point.velocities)))
        if speed > _REST:
            return (
                f"MoveIt planned a path that {word} at {speed:.3f} rad/s instead of at rest; "
                f"{_CURE}"
            )
    return ""


def _beyond_range(path: Sequence[PathPoint], joints: Sequence[str], limits: ArmLimits) -> str:
    between, _, _ = _interpolated(path)
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


def _interpolated(path: Sequence[PathPoint]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The way between the points: rad, rad/s and rad/s^2, each (segments, samples, joints).

    A joint_trajectory_controller goes along the polynomial of fifth degree that has both points'
    positions, velocities and accelerations (ros2_controllers, joint_trajectory_controller,
    "Trajectory Representation": the spline is quintic where all three are given).
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
    pull = power * (power - 1) * s[:, None] ** np.maximum(power - 2, 0)
    positions = np.einsum("sk,kij->isj", place, rows)
    velocities = np.einsum("sk,kij->isj", speed, rows) / time[:, None]
    accelerations = np.einsum("sk,kij->isj", pull, rows) / time[:, None] ** 2
    return positions, velocities, accelerations
