"""What is refused of a planned path, and how fast it is followed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from motion_fakes import HOME, START

from twist_robot.motion.joint_path import PathPoint, joint_path
from twist_robot.motion.joint_targets import ARMS, READY, arm_limits
from twist_robot.motion.path_check import from_rest, path_trouble, slowed

ZERO = np.zeros(7)
PANDA = arm_limits("panda")
ANY = 1e6  # an acceleration that limits nothing


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
    assert slowed(path, 0.3, ANY) == path


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
    assert "begins at 2.000 rad/s instead of at rest" in trouble(changed(0, velocities=ZERO + 2.0))


def test_the_way_to_the_first_point_takes_a_time_that_the_arm_can_keep() -> None:
    # Within the tolerance of where the arm stands, but to be there 1 ms later.
    path = changed(0, time=0.001, positions=START + 0.045)
    assert "rad/s, the arm can do" in trouble(path)


@pytest.mark.parametrize("away", [1e-5, 0.001, 0.045])
def test_a_first_point_at_time_0_that_is_not_where_the_arm_stands_is_not_jumped_to(
    away: float,
) -> None:
    path = changed(0, positions=START + away, accelerations=ZERO + 0.1)
    assert trouble(path) == ""
    whole = from_rest(path, START)
    assert np.array_equal(whole[0].positions, START)
    assert whole[0].time == 0
    assert np.array_equal(whole[1].positions, path[0].positions)
    assert not whole[1].accelerations.any()
    first_way = whole[:2]
    assert slowed(first_way, 0.1, 0.3) == first_way  # slower than the node's own defaults
    waits = whole[1].time
    assert [p.time for p in whole[2:]] == pytest.approx([p.time + waits for p in path[1:]])


def moveits_plan(velocity: float, acceleration: float) -> list[PathPoint]:
    """As MoveIt's time parametrisation gives it: trapezoidal speed, sampled every 0.1 s.

    Its first point is the start state at time 0, at rest, with the full acceleration already.
    """
    way = HOME.array() - START
    longest = float(np.max(np.abs(way)))
    rise = velocity / acceleration
    end = longest / velocity + rise
    path = []
    for time in [*np.arange(0.0, end, 0.1), end]:
        if time < rise:
            place, speed, pull = acceleration * time**2 / 2, acceleration * time, acceleration
        elif time <= end - rise:
            place, speed, pull = velocity * (time - rise / 2), velocity, 0.0
        else:
            left = end - time
            place = longest - acceleration * left**2 / 2
            speed, pull = acceleration * left, -acceleration
        unit = way / longest
        path.append(PathPoint(float(time), START + place * unit, speed * unit, pull * unit))
    return path


def test_moveits_own_plan_from_where_the_arm_stands_is_followed_as_it_is() -> None:
    path = moveits_plan(0.15, 0.2)
    assert trouble(path) == ""
    assert from_rest(path, START) == path
    assert slowed(path, 0.3, 0.5) == path
    # Between two points of one that is planned to the limits, the polynomial goes beyond them.
    path = moveits_plan(0.3, 0.5)
    assert trouble(path) == ""
    assert 1.0 <= slowed(path, 0.3, 0.5)[-1].time / path[-1].time < 1.3


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
    slow = slowed(path, most, ANY)
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
    slow = slowed(path, 0.1, ANY)
    # From rest to rest: the largest velocity is 15/8 of the mean one.
    longest = float(np.max(np.abs(HOME.array() - START)))
    assert slow[-1].time == pytest.approx(1.875 * longest / 0.1)


@pytest.mark.parametrize("most", [0.5, 1.0])
def test_a_path_that_accelerates_too_much_is_the_same_way_in_more_time(most: float) -> None:
    # 0.02 rad from rest to rest in 40 ms: slow enough at 0.94 rad/s, but 72 rad/s^2.
    near = HOME.array() - np.array([0.02, 0, 0, 0, 0, 0, 0])
    path = [PathPoint(0.0, near, ZERO, ZERO), PathPoint(0.04, HOME.array(), ZERO, ZERO)]
    assert path_trouble(path, near, HOME, PANDA) == ""
    slow = slowed(from_rest(path, near), 1.0, most)
    # From rest to rest: the largest acceleration is 10 / sqrt 3 of way / time^2.
    assert 10 / np.sqrt(3) * 0.02 / slow[-1].time ** 2 == pytest.approx(most, rel=1e-3)
    assert slow[-1].time == pytest.approx(np.sqrt(10 / np.sqrt(3) * 0.02 / most), rel=1e-3)


def test_accelerations_that_are_stated_count() -> None:
    path = changed(4, accelerations=ZERO + 8.0)
    slow = slowed(from_rest(path, START), 0.3, 0.5)
    assert slow[-1].time >= 4.0 * path[-1].time * 0.999
    assert max(np.max(np.abs(p.accelerations)) for p in slow) <= 0.5 + 1e-9


@pytest.mark.parametrize("arm", ARMS)
def test_the_limits_of_every_arm_hold_its_ready_posture_and_are_in_order(arm: str) -> None:
    limits = arm_limits(arm)
    assert np.all(limits.lower < READY)
    assert np.all(limits.upper > READY)
    assert np.all(limits.velocity > 1.0)  # the node's own bound on max_velocity
