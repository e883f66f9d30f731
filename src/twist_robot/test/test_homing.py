"""Homing in simulated time: what is refused, retried, stopped and verified."""

from __future__ import annotations

from typing import Any

import pytest
from motion_fakes import ABOVE, HOME, START, Granted, Pending, Stand

from twist_robot.motion.homing import HomingStep
from twist_robot.motion.joint_targets import TargetError


def stand(**rules: Any) -> Stand:
    return Stand(lambda positions: ABOVE, **rules)


def test_the_arm_goes_up_then_home_and_arrival_is_seen_in_the_joint_states() -> None:
    cell = stand()
    cell.run(0.5)
    assert cell.servo_paused == 1  # before the motion
    (request,) = cell.requests
    assert request.waypoints == (ABOVE, HOME)
    assert request.start == pytest.approx(START)
    assert cell.homing.step is HomingStep.MOTION
    cell.run(1.5)
    assert cell.homing.over
    assert cell.homing.error == ""


def test_without_servo_nothing_is_paused() -> None:
    cell = stand(lift=False)
    cell.servo = None
    cell.run(2.0)
    assert cell.homing.over
    assert cell.homing.error == ""
    assert cell.requests[0].waypoints == (HOME,)


def test_an_active_policy_is_a_refusal_before_anything_moves() -> None:
    cell = stand()
    cell.problem = "twist_policy_node is active: deactivate it first"
    cell.run(0.1)
    assert cell.homing.over
    assert cell.homing.error == cell.problem
    assert cell.requests == []
    assert cell.servo_paused == 0


def test_a_policy_that_becomes_active_stops_the_motion() -> None:
    cell = stand()
    cell.run(0.5)
    cell.problem = "twist_policy_node is active"
    cell.run(0.1)
    assert cell.motions[0].cancelled_at is not None
    assert cell.homing.step is HomingStep.STOPPING
    cell.run(0.5)
    assert cell.homing.over
    assert cell.homing.error == "twist_policy_node is active"
    assert len(cell.motions) == 1


def test_a_person_can_stop_it_and_it_is_not_tried_again() -> None:
    cell = stand(attempts=3)
    cell.run(0.5)
    cell.homing.stop("stopped by a person")
    cell.run(2.0)
    assert cell.homing.over
    assert cell.homing.error == "stopped by a person"
    assert len(cell.motions) == 1


def test_a_motion_that_ignores_being_cancelled_is_an_emergency() -> None:
    cell = stand()
    cell.cancel_takes = 60.0
    cell.run(0.5)
    cell.homing.stop("stopped by a person")
    cell.run(5.5)
    assert cell.homing.over
    assert "emergency stop" in cell.homing.error


def test_what_the_mover_knows_of_a_motion_that_ignores_being_cancelled_is_told() -> None:
    cell = stand()
    cell.cancel_takes = 60.0
    cell.run(0.5)
    cell.unsure = "/arm/do may still move the arm; the controller stays off"
    cell.homing.stop("stopped by a person")
    cell.run(5.5)
    assert cell.homing.error.startswith("stopped by a person; it did not end within 5 s")
    assert cell.homing.error.endswith(cell.unsure)


def test_only_a_motion_that_is_neither_cancelled_nor_given_up_is_under_way() -> None:
    cell = stand()
    assert not cell.homing.moving
    cell.run(0.5)
    assert cell.homing.moving
    cell.motions[0].message = "did not answer; waiting until its goal has ended"
    assert not cell.homing.moving
    cell.motions[0].message = ""
    cell.homing.stop("stopped by a person")
    assert not cell.homing.moving


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("joint_states_on", False, "no fresh joint states with panda_joint1 ... panda_joint7"),
        ("no_mover", "no action server /x", "after 5 s: no action server /x"),
        ("unknown", "the policy does not say", "after 5 s: the policy does not say"),
    ],
)
def test_missing_inputs_are_named_after_a_while(attribute: str, value: Any, message: str) -> None:
    cell = stand()
    setattr(cell, attribute, value)
    cell.run(4.9)
    assert not cell.homing.over
    cell.run(0.3)
    assert message in cell.homing.error
    assert cell.requests == []


def test_a_servo_that_does_not_pause_is_a_refusal() -> None:
    cell = stand()
    cell.servo = "/servo_node/pause_servo did not answer within 5 s"
    cell.run(0.2)
    assert "Servo could not be paused: /servo_node/pause_servo did not answer" in cell.homing.error
    assert cell.requests == []


def test_a_failed_motion_is_tried_again_from_where_the_arm_is_then() -> None:
    cell = stand(attempts=2)
    cell.failures = ["path tolerance violated"]
    cell.run(0.9)
    cell.positions = START + 0.1
    cell.run(3.0)
    assert cell.homing.over
    assert cell.homing.error == ""
    assert cell.requests[0].start == pytest.approx(START)
    assert cell.requests[1].start == pytest.approx(START + 0.1)
    assert cell.homing.attempt == 2


def test_after_the_last_attempt_the_reason_is_told() -> None:
    cell = stand(attempts=2)
    cell.failures = ["first reason", "goal tolerance violated"]
    cell.run(5.0)
    assert cell.homing.over
    assert cell.homing.error == (
        "home of block_push was not reached (2 attempts): first reason; then goal tolerance "
        "violated"
    )


def test_a_reason_that_comes_again_is_told_once() -> None:
    cell = stand(attempts=2)
    cell.failures = ["goal tolerance violated"] * 2
    cell.run(5.0)
    assert cell.homing.error == (
        "home of block_push was not reached (2 attempts): goal tolerance violated"
    )


def test_what_the_first_attempt_ran_into_is_told_when_there_is_no_second() -> None:
    cell = stand(attempts=2)
    cell.failures = ["the arm is in REFLEX"]
    cell.run(1.0)
    cell.no_mover = "no action server /x"
    cell.run(6.0)
    assert cell.homing.error == "the arm is in REFLEX; then after 5 s: no action server /x"


def test_a_motion_that_claims_success_elsewhere_is_no_arrival() -> None:
    cell = stand(attempts=1, arrival_timeout=1.0)
    cell.ends_at = HOME.array() + 0.05
    cell.run(4.0)
    assert cell.homing.over
    assert "is 0.050 rad away from home of block_push (tolerance 0.01 rad)" in cell.homing.error


def test_an_arm_that_is_blocked_is_held_where_it_stands_and_not_sent_again() -> None:
    cell = stand(attempts=2, arrival_timeout=1.0)
    cell.ends_at = blocked = HOME.array() + 0.3
    cell.run(5.0)
    assert cell.homing.over
    assert len(cell.motions) == 1
    assert cell.held == [tuple(blocked)]
    assert "was not reached: the motion ended, but panda_joint" in cell.homing.error


def test_an_arm_that_ends_a_little_off_is_held_and_sent_again() -> None:
    cell = stand(attempts=2, arrival_timeout=1.0)
    cell.ends_at = HOME.array() + 0.02
    cell.run(2.2)
    cell.ends_at = None
    cell.run(4.0)
    assert cell.homing.over
    assert cell.homing.error == ""
    assert (len(cell.motions), len(cell.held)) == (2, 1)


def test_a_stop_while_the_arm_should_arrive_holds_it_where_it_stands() -> None:
    cell = stand(attempts=2, arrival_timeout=3.0)
    cell.ends_at = blocked = HOME.array() + 0.3
    cell.run(1.5)
    assert cell.homing.step is HomingStep.ARRIVAL
    cell.homing.stop("stopped by a person")
    cell.run(0.1)
    assert cell.homing.over
    assert cell.held == [tuple(blocked)]
    assert cell.homing.error == "stopped by a person"
    assert len(cell.motions) == 1


@pytest.mark.parametrize("message", ["/arm/do rejected the goal", ""])
def test_an_arm_that_cannot_be_held_is_an_emergency(message: str) -> None:
    cell = stand(attempts=2, arrival_timeout=1.0)
    cell.ends_at = HOME.array() + 0.02
    cell.holding = Granted(message) if message else Pending()
    cell.run(9.0)
    assert cell.homing.over
    assert len(cell.motions) == 1
    assert (message or "no answer for 5 s") in cell.homing.error
    assert "use the emergency stop" in cell.homing.error


def test_an_arm_of_which_nobody_knows_where_it_stands_cannot_be_held() -> None:
    cell = stand(attempts=2, arrival_timeout=1.0)
    cell.ends_at = HOME.array() + 0.02
    cell.run(1.5)
    cell.joint_states_on = False
    cell.run(3.0)
    assert cell.homing.over
    assert cell.held == []
    assert "(the joint states stopped) and may push on" in cell.homing.error


def test_a_mover_that_leaves_nothing_pulling_needs_no_hold() -> None:
    cell = stand(attempts=1, arrival_timeout=1.0)
    cell.ends_at = HOME.array() + 0.3
    cell.holding = None
    cell.run(5.0)
    assert "is 0.300 rad away" in cell.homing.error


def test_a_motion_that_takes_too_long_is_cancelled_and_counted_as_an_attempt() -> None:
    cell = stand(attempts=2, motion_timeout=2.0)
    cell.duration = 60.0
    cell.run(2.5)
    assert cell.motions[0].cancelled_at is not None
    cell.run(4.0)
    assert cell.homing.over
    assert len(cell.motions) == 2
    assert "longer than 2 s and was cancelled" in cell.homing.error


def test_a_tool_that_cannot_be_lifted_is_a_refusal() -> None:
    def lifted(positions: list[float]) -> None:
        raise TargetError("above the present tool position: out of reach")

    cell = Stand(lifted)
    cell.run(0.2)
    assert cell.homing.over
    assert cell.homing.error == "above the present tool position: out of reach"
