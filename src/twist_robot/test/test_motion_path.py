"""Targets, paths and arrival: where the arm is sent, how, and when it counts as there."""

from __future__ import annotations

import math

import numpy as np
import pytest

from twist_robot.motion.arrival import ArrivalCheck, JointReading
from twist_robot.motion.joint_path import joint_path
from twist_robot.motion.joint_targets import (
    ARMS,
    READY,
    HomeKinematics,
    JointTarget,
    TargetError,
    joint_names,
    ready_target,
)
from twist_sim.kinematics import DifferentialIk
from twist_sim.task_card import load_task_card

CARD = load_task_card("block_push")


@pytest.mark.parametrize("arm", ARMS)
def test_home_puts_the_tool_tip_where_the_card_says_and_ready_is_reachable(arm: str) -> None:
    home = HomeKinematics(CARD, arm).home
    position, orientation = DifferentialIk.from_card(CARD).forward(home.positions)
    assert position == pytest.approx(CARD.home.tool_position, abs=1e-4)
    assert abs(np.dot(orientation, CARD.home.tool_orientation)) == pytest.approx(1.0, abs=1e-6)
    assert home.joints[0] == f"{arm}_joint1"
    assert ready_target(arm).positions == READY


def test_lifting_goes_straight_up_and_is_left_out_at_the_home_height() -> None:
    kinematics = HomeKinematics(CARD, "panda")
    ik = DifferentialIk.from_card(CARD)
    low = (0.55, 0.1, 0.02)
    start = ik.solve_exactly(kinematics.home.positions, low, CARD.home.tool_orientation)
    lifted = kinematics.lifted(start.tolist())
    assert lifted is not None
    position, _ = ik.forward(lifted.positions)
    assert position == pytest.approx((0.55, 0.1, CARD.home.tool_position[2]), abs=1e-4)
    assert kinematics.lifted(kinematics.home.positions) is None


def test_targets_out_of_reach_and_unknown_arms_are_refused() -> None:
    with pytest.raises(TargetError, match="known: panda, fr3"):
        HomeKinematics(CARD, "ur5")
    kinematics = HomeKinematics(CARD, "fr3")
    with pytest.raises(TargetError, match="unusable"):
        kinematics.lifted([math.nan] * 7)
    # At the edge of joint 1, where the tool is as far away as it gets.
    with pytest.raises(TargetError, match="joint"):
        kinematics.lifted([2.73, 1.4, 0.0, -0.4, 0.0, 1.6, 0.0])


def test_a_path_keeps_its_limits_rests_at_every_waypoint_and_ends_at_the_target() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        waypoints = rng.uniform(-2.0, 2.0, (3, 7))
        path = joint_path(list(waypoints), max_velocity=0.3, max_acceleration=0.5)
        times = np.array([point.time for point in path])
        positions = np.array([point.positions for point in path])
        velocities = np.array([point.velocities for point in path])
        accelerations = np.array([point.accelerations for point in path])
        assert times[0] == 0.0
        assert np.all(np.diff(times) > 0)
        assert np.array_equal(positions[0], waypoints[0])
        assert np.allclose(positions[-1], waypoints[-1])
        assert np.all(velocities[-1] == 0)
        assert np.max(np.abs(velocities)) <= 0.3 + 1e-9
        assert np.max(np.abs(accelerations)) <= 0.5 + 1e-9
        # Velocities and positions belong to each other (trapezoidal rule, 20 ms steps).
        steps = np.diff(times)[:, None] * (velocities[1:] + velocities[:-1]) / 2
        assert np.allclose(np.diff(positions, axis=0), steps, atol=1e-3)
        middle = int(np.argmin(np.linalg.norm(positions - waypoints[1], axis=1)))
        assert np.allclose(positions[middle], waypoints[1])
        assert np.allclose(velocities[middle], 0, atol=1e-9)


@pytest.mark.parametrize(
    ("waypoints", "limits"),
    [
        ([[0.0] * 7], {}),
        ([[0.0] * 7, [0.0] * 6], {}),
        ([[0.0] * 7, [math.nan] * 7], {}),
        ([[0.0] * 7, [1.0] * 7], {"max_velocity": 0.0}),
        ([[0.0] * 7, [1.0] * 7], {"max_acceleration": math.inf}),
    ],
)
def test_a_path_of_nonsense_is_refused(
    waypoints: list[list[float]], limits: dict[str, float]
) -> None:
    with pytest.raises(ValueError, match=r"waypoints|positive and finite"):
        joint_path(waypoints, **{"max_velocity": 0.3, "max_acceleration": 0.5, **limits})


TARGET = JointTarget("home", joint_names("panda"), (0.0, 0.1, 0.2, -2.0, 0.4, 1.5, 0.6))


def reading(at: float, offset: float = 0.0, speed: float = 0.0) -> JointReading:
    positions = [*TARGET.positions]
    positions[3] += offset
    # Drivers send more joints, and in another order.
    return JointReading.from_lists(
        at,
        ["finger", *reversed(TARGET.joints)],
        [0.04, *reversed(positions)],
        [0.0, *([speed] * 7)],
    )


def test_arrival_needs_every_joint_in_place_and_at_rest_for_a_while() -> None:
    check = ArrivalCheck(TARGET, tolerance=0.01, hold=0.2)
    assert not check.update(reading(1.0))
    assert not check.update(reading(1.1, speed=0.1))
    assert "still moves at 0.100 rad/s" in check.explain()
    assert not check.update(reading(1.2))
    assert not check.update(reading(1.3, offset=0.02))
    assert "panda_joint4 is 0.020 rad away from home" in check.explain()
    assert not check.update(reading(1.4))
    assert not check.update(reading(1.59))
    assert check.update(reading(1.61))


def test_arrival_says_which_joints_are_missing() -> None:
    check = ArrivalCheck(TARGET, tolerance=0.01)
    assert check.explain() == "no joint state arrived"
    values = [math.nan, *TARGET.positions[1:6]]
    assert not check.update(JointReading.from_lists(0.0, TARGET.joints, values, []))
    assert check.explain() == "the joint states lack panda_joint1, panda_joint7"
