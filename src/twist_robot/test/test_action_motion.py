"""Goals of an action server: none is left alone, whatever the server answers, and when."""

from __future__ import annotations

from typing import Any

from motion_fakes import ABOVE, HOME, ActionClient, Stand

from twist_robot.motion.action_motion import ActionMotion
from twist_robot.motion.homing import Homing, HomingRules
from twist_robot.motion.motions import Motion, MotionRequest, MotionState

CANCELLING, NO_SUCH_GOAL, ENDED = 0, 2, 3


def motion_of(client: ActionClient) -> ActionMotion:
    return ActionMotion(client, object(), lambda result: "", 0.0)


def given_up() -> tuple[ActionClient, ActionMotion]:
    """A goal that the server has not answered within five seconds."""
    client = ActionClient()
    motion = motion_of(client)
    assert motion.poll(4.9) is MotionState.RUNNING
    assert motion.poll(5.1) is MotionState.FAILED
    return client, motion


def test_a_server_that_does_not_answer_is_a_failure_and_a_late_goal_is_cancelled() -> None:
    client, motion = given_up()
    assert "did not answer within 5 s and may still move the arm" in motion.message
    assert "use the emergency stop if the arm moves" in motion.message
    asked = len(client.cancels)
    client.accept()  # nobody polls the motion any more
    assert len(client.cancels) == asked + 1
    assert {goal for goal, _ in client.cancels} == set(client.ids)


def test_a_goal_whose_answer_was_lost_is_cancelled_as_well() -> None:
    client, motion = given_up()
    assert [goal for goal, _ in client.cancels] == client.ids
    client.answer_cancel(CANCELLING)
    assert "may still move" in motion.unsettled(5.2)
    for now in (6.2, 7.2):  # it is asked once a second
        motion.unsettled(now)
        motion.unsettled(now + 0.1)
    assert len(client.cancels) == 3
    client.answer_cancel(ENDED)
    assert motion.unsettled(8.0) == ""


def test_a_goal_that_the_server_does_not_know_is_settled() -> None:
    client, motion = given_up()
    client.answer_cancel(NO_SUCH_GOAL)
    assert motion.unsettled(5.2) == ""


def test_a_late_goal_is_settled_when_it_has_ended() -> None:
    client, motion = given_up()
    client.accept()
    assert "may still move" in motion.unsettled(6.0)
    client.finish(5)
    assert motion.unsettled(6.1) == ""


def test_a_late_rejection_settles_it() -> None:
    client, motion = given_up()
    client.accept(False)
    assert motion.unsettled(6.0) == ""


def test_cancelling_reaches_a_goal_that_is_accepted_only_later() -> None:
    client = ActionClient()
    motion = motion_of(client)
    motion.cancel()
    client.answer_cancel(NO_SUCH_GOAL)  # the cancel request was faster than the goal
    asked = len(client.cancels)
    client.accept()
    assert len(client.cancels) == asked + 1
    assert motion.poll(0.1) is MotionState.RUNNING
    client.finish(5, error_code=0, error_string="")
    assert motion.poll(0.2) is MotionState.FAILED
    assert "cancelled by its server" in motion.message


def test_a_cancel_request_without_effect_is_repeated_until_the_goal_has_ended() -> None:
    client = ActionClient()
    motion = motion_of(client)
    client.accept()
    assert motion.poll(0.1) is MotionState.RUNNING
    motion.cancel()
    for step in range(20):
        assert motion.poll(1.0 + 0.1 * step) is MotionState.RUNNING
    assert len(client.cancels) == 2
    client.answer_cancel(NO_SUCH_GOAL)  # the driver was started again: its result never comes
    assert motion.poll(3.1) is MotionState.FAILED
    assert motion.unsettled(3.2) == ""


class Mover:
    """Sends its goals to a server that the test plays."""

    def __init__(self) -> None:
        self.client = ActionClient()
        self.last: ActionMotion | None = None

    def missing(self) -> str:
        return ""

    def start(self, request: MotionRequest, now: float) -> Motion:
        self.last = ActionMotion(self.client, request, lambda result: "", now)
        return self.last

    def unsettled(self, now: float) -> str:
        return "" if self.last is None else self.last.unsettled(now)


def homing(mover: Mover, **rules: Any) -> Stand:
    """A stand whose arm is moved by `mover`."""
    stand = Stand(lambda positions: ABOVE)
    stand.homing = Homing(
        HOME, lambda positions: ABOVE, mover, stand, HomingRules(**rules), stand.now
    )
    return stand


def test_no_second_goal_is_sent_while_the_fate_of_the_first_is_unknown() -> None:
    mover = Mover()
    cell = homing(mover, attempts=3)
    cell.run(20.0)
    assert cell.homing.over
    assert len(mover.client.goals) == 1
    assert "has not said that an earlier goal has ended" in cell.homing.error
    assert "use the emergency stop if it does" in cell.homing.error
    # Neither by the next request.
    cell.homing = Homing(HOME, lambda positions: ABOVE, mover, cell, HomingRules(), cell.now)
    cell.run(6.0)
    assert cell.homing.over
    assert len(mover.client.goals) == 1


def test_a_second_goal_is_sent_once_the_first_is_known_to_have_ended() -> None:
    mover = Mover()
    cell = homing(mover, attempts=2)
    cell.run(6.0)
    mover.client.accept()  # late
    cell.run(1.0)
    assert len(mover.client.goals) == 1
    mover.client.finish(5)
    cell.run(0.1)
    assert len(mover.client.goals) == 2
    mover.client.accept()
    mover.client.finish(4)
    cell.positions = HOME.array()
    cell.run(1.0)
    assert cell.homing.over
    assert cell.homing.error == ""


def test_a_stop_before_the_goal_was_accepted_does_not_claim_that_the_arm_stands() -> None:
    mover = Mover()
    cell = homing(mover)
    cell.run(1.0)
    cell.homing.stop("stopped by ~/stop")
    cell.run(6.0)
    assert cell.homing.over
    assert cell.homing.error.startswith("stopped by ~/stop; /arm/do has not said")
    assert "use the emergency stop if it does" in cell.homing.error
    asked = len(mover.client.cancels)
    mover.client.accept()
    assert len(mover.client.cancels) == asked + 1


def test_a_stop_whose_goal_ends_says_no_more_than_that() -> None:
    mover = Mover()
    cell = homing(mover)
    cell.run(0.5)
    mover.client.accept()
    cell.run(0.5)
    cell.homing.stop("stopped by ~/stop")
    mover.client.finish(5)
    cell.run(0.1)
    assert cell.homing.error == "stopped by ~/stop"
