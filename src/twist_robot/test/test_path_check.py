"""What is refused of a planned path, and how fast it is followed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from motion_fakes import HOME, START

from twist_robot.motion.joint_path import PathPoint, joint_path
from twist_robot.motion.joint_targets import ARMS, READY, arm_limits
from twist_robot.motion.path_check import path_trouble, slowed

ZERO = np.zeros(7)
PANDA = arm_limits("panda")


def good(speed: float = 0.2) -> list[PathPoint]:
    return joint_path(
        [START, HOME.array()], max_velocity=speed, max_acceleration=5.0, sample_period=0.1
    )


def changed(index: int, **fields: Any) -> list[PathPoint]:
    path = good()
    path[index] = dataclasses.replace(path[index], **fields)
    return path


def trouble(path: list[PathPoint]) -> str:
    return path_trouble(path, START, HOME, PANDA)


def test_a_path_within_all_limits_is_followed_as_it_is() -> None:
    path = good()
    assert trouble(path) == ""
    assert slowed(path, 0.3) == path


def test_a_path_that_makes_no_sense_is_refused() -> None:
    assert "empty" in trouble(good()[:1])
    nonsense = (
        changed(3, time=0.0),
        changed(0, time=-1.0),
        changed(3, positions=ZERO * np.nan),
        changed(3, velocities=np.array([])),
        changed(3, accelerations=np.zeros(6)),
    )
    for path in nonsense:
        assert "make no sense" in trouble(path)


def test_a_path_from_elsewhere_to_elsewhere_or_that_ends_in_motion_is_refused() -> None:
    assert "planned from elsewhere: 0.100 rad" in trouble(changed(0, positions=START + 0.1))
    assert "away from home of block_push" in trouble(changed(-1, positions=HOME.array() + 0.1))
    assert "ends at 0.500 rad/s instead of at rest" in trouble(changed(-1, velocities=ZERO + 0.5))


def test_the_wild_middle_of_a_path_is_refused() -> None:
    path = [
        PathPoint(0.0, START, ZERO, ZERO),
        PathPoint(0.01, np.full(7, 9.0), ZERO + 900.0, ZERO),
        PathPoint(0.02, HOME.array(), ZERO, ZERO),
    ]
    assert "which the arm allows from" in trouble(path)


@pytest.mark.parametrize("joint", range(7))
def test_every_point_keeps_every_joints_range(joint: int) -> None:
    # Slowly, so that nothing but the range is wrong.
    for beyond in (PANDA.lower - 0.01, PANDA.upper + 0.01):
        place = START.copy()
        place[joint] = beyond[joint]
        path = joint_path([START, place, HOME.array()], max_velocity=0.2, max_acceleration=1.0)
        assert f"planned panda_joint{joint + 1} to" in trouble(path)


def test_the_way_between_two_points_counts() -> None:
    # Both points are within the range and the speed; the polynomial between them is not.
    place = START.copy()
    place[0] = PANDA.upper[0] - 0.01
    there = joint_path([START, place], max_velocity=0.2, max_acceleration=1.0)
    out = np.zeros(7)
    out[0] = 0.5
    there[-1] = dataclasses.replace(there[-1], velocities=out)
    at = there[-1].time
    back = joint_path([place, HOME.array()], max_velocity=0.2, max_acceleration=1.0)
    path = [*there, *(dataclasses.replace(p, time=p.time + at + 1.0) for p in back)]
    assert "planned panda_joint1 to" in trouble(path)


def test_a_speed_that_the_arm_cannot_do_is_refused_stated_or_not() -> None:
    fast = ZERO.copy()
    fast[1] = 2.3
    assert "panda_joint2 at 2.300 rad/s, the arm can do 2.175 rad/s" in trouble(
        changed(5, velocities=fast)
    )
    hurry = [dataclasses.replace(p, time=p.time / 100, velocities=ZERO) for p in good()]
    assert "rad/s, the arm can do" in trouble(hurry)


@pytest.mark.parametrize("most", [0.05, 0.3])
def test_a_fast_path_is_the_same_way_in_more_time(most: float) -> None:
    path = good(speed=1.5)
    assert trouble(path) == ""
    slow = slowed(path, most)
    assert [p.positions.tolist() for p in slow] == [p.positions.tolist() for p in path]
    factor = slow[-1].time / path[-1].time
    fastest = max(float(np.max(np.abs(p.velocities))) for p in path)
    assert fastest > most
    # A little more than that: between two points it goes a little faster than at them.
    assert factor == pytest.approx(fastest / most, rel=0.05)
    for before, after in zip(path, slow, strict=True):
        assert after.time == pytest.approx(before.time * factor)
        assert after.velocities == pytest.approx(before.velocities / factor)
        assert after.accelerations == pytest.approx(before.accelerations / factor**2)
    assert max(np.max(np.abs(p.velocities)) for p in slow) <= most + 1e-9


def test_at_most_means_also_between_the_points_where_no_speed_is_stated() -> None:
    path = [PathPoint(0.0, START, ZERO, ZERO), PathPoint(1.0, HOME.array(), ZERO, ZERO)]
    slow = slowed(path, 0.1)
    # From rest to rest: the largest velocity is 15/8 of the mean one.
    longest = float(np.max(np.abs(HOME.array() - START)))
    assert slow[-1].time == pytest.approx(1.875 * longest / 0.1)


@pytest.mark.parametrize("arm", ARMS)
def test_the_limits_of_every_arm_hold_its_ready_posture_and_are_in_order(arm: str) -> None:
    limits = arm_limits(arm)
    assert np.all(limits.lower < READY)
    assert np.all(limits.upper > READY)
    assert np.all(limits.velocity > 1.0)  # the node's own bound on max_velocity
