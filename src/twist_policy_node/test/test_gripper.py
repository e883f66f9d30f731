"""Opening the gripper, and commands one at a time, in simulated time."""

from __future__ import annotations

import math

import pytest

from twist_policy.action_gate import GateError
from twist_policy.contract import ContractError, PolicyContract
from twist_policy_node.arming import CallState
from twist_policy_node.gripper import (
    Fingers,
    Goal,
    GripperControl,
    GripperLimits,
    GripperResult,
    Opening,
)

LIMITS = GripperLimits(answer=0.5, command=3.0, silence=0.5)


class Gripper:
    """What was sent to it, and its fingers."""

    def __init__(self) -> None:
        self.sent: list[Goal] = []
        self.width = 0.08

    def fingers(self) -> Fingers:
        return Fingers(self.width, 0.0)

    def opening(self) -> Opening:
        return Opening(0.08, LIMITS, self.fingers, self.sent.append, 0.0)


@pytest.fixture
def gripper() -> Gripper:
    return Gripper()


def test_opening_ends_with_the_gripper_measured_open(gripper: Gripper) -> None:
    gripper.width = 0.02
    opening = gripper.opening()
    assert [goal.command for goal in gripper.sent] == ["open"]
    gripper.sent[0].accepted = True
    assert opening.poll(0.7) is CallState.PENDING
    gripper.sent[0].end(True, "")
    assert opening.poll(0.8) is CallState.PENDING  # the fingers' positions lag behind
    gripper.width = 0.0785
    assert opening.poll(0.9) is CallState.DONE
    assert len(gripper.sent) == 1


def test_a_gripper_that_only_says_that_it_is_open_is_not_believed(gripper: Gripper) -> None:
    gripper.width = 0.07
    opening = gripper.opening()
    gripper.sent[0].end(True, "")
    assert opening.poll(2.9) is CallState.PENDING
    assert opening.poll(3.1) is CallState.FAILED
    assert "0.070 m apart (0.080 m expected)" in opening.message


def test_a_lost_answer_is_asked_for_again_and_fails_in_the_end(gripper: Gripper) -> None:
    opening = gripper.opening()
    for at in (0.4, 0.6, 0.9, 1.2):
        assert opening.poll(at) is CallState.PENDING
    assert len(gripper.sent) == 3
    assert opening.poll(3.1) is CallState.FAILED
    assert "did not answer within 3.0 s" in opening.message


@pytest.mark.parametrize(
    ("error", "expected"), [("no connection", "no connection"), ("", "no success")]
)
def test_a_gripper_that_fails_to_open_says_why(gripper: Gripper, error: str, expected: str) -> None:
    opening = gripper.opening()
    gripper.sent[0].end(False, error)
    assert opening.poll(0.1) is CallState.FAILED
    assert expected in opening.message


def test_a_gripper_that_is_accepted_but_never_open_fails(gripper: Gripper) -> None:
    opening = gripper.opening()
    gripper.sent[0].accepted = True
    assert opening.poll(3.1) is CallState.FAILED
    assert "was not open within 3.0 s" in opening.message


def control(contract: PolicyContract) -> GripperControl:
    return GripperControl(contract, LIMITS, lambda: Fingers(0.08, 0.0))


def test_a_slow_command_keeps_the_policy_waiting(gripper_contract: PolicyContract) -> None:
    grip = control(gripper_contract)
    first = grip.step(1.0, 0.0)
    assert first.goal is not None
    assert (first.state, first.result) == (1.0, GripperResult.RUNNING)
    # By the contract, a command takes three steps. This one takes longer.
    for step in range(1, 6):
        later = grip.step(-1.0, 0.1 * step)
        assert (later.goal, later.state) == (None, 1.0)
    first.goal.end(True, "")
    last = grip.step(-1.0, 0.6)
    assert last.goal is not None
    assert (last.goal.command, last.state) == ("open", -1.0)


def test_slow_steps_have_slow_fingers_with_as_much_more_time(
    gripper_contract: PolicyContract,
) -> None:
    spec = gripper_contract.gripper
    assert spec is not None
    fingers = Fingers(0.08, 0.0)
    grip = GripperControl(gripper_contract, LIMITS, lambda: fingers, step_periods=4)
    sent: list[Goal] = []
    grip.opening(sent.append, 0.0)
    assert sent[0].speed == 1.0  # nobody waits for the policy yet
    goal = grip.step(1.0, 0.0).goal
    assert goal is not None
    assert goal.speed == 0.25
    goal.accepted = True
    limit = LIMITS.command + 3 * spec.command_time
    for at, late in ((limit - 0.01, False), (limit + 0.01, True)):
        fault = goal.check(at, grip._limits)
        assert (fault is not None) == late
    fingers = Fingers(0.08, limit + 0.01)
    fault = grip.check(limit + 0.01)
    assert fault is not None
    assert fault.code == "gripper_late"


def test_a_quick_command_does_not_hurry_the_policy(gripper_contract: PolicyContract) -> None:
    grip = control(gripper_contract)
    first = grip.step(1.0, 0.0)
    assert first.goal is not None
    first.goal.end(True, "")
    goals = [grip.step(-1.0, 0.1 * step).goal for step in (1, 2, 3)]
    assert [goal is None for goal in goals] == [True, True, False]


def test_an_answer_to_an_earlier_episode_means_nothing(gripper_contract: PolicyContract) -> None:
    grip = control(gripper_contract)
    old = grip.step(1.0, 0.0).goal
    assert old is not None
    grip.reset()
    old.refuse("too late")
    assert grip.check(0.1) is None
    assert grip.result is GripperResult.NONE


@pytest.mark.parametrize("error", ["", "command exception"])
def test_only_an_empty_grasp_is_forgiven(gripper_contract: PolicyContract, error: str) -> None:
    grip = control(gripper_contract)
    goal = grip.step(1.0, 0.0).goal
    assert goal is not None
    goal.end(False, error)
    fault = grip.check(0.1)
    assert grip.result is GripperResult.FAILED
    assert (fault is None) == (error == "")
    if fault is not None:
        assert fault.code == "gripper_refused"
        assert "command exception" in fault.cause


def test_a_gripper_action_that_is_no_number_is_refused(gripper_contract: PolicyContract) -> None:
    grip = control(gripper_contract)
    grip.step(1.0, 0.0)
    with pytest.raises(GateError):  # also while a command is under way
        grip.step(math.nan, 0.1)


def test_unheard_fingers_are_a_fault(gripper_contract: PolicyContract) -> None:
    grip = GripperControl(gripper_contract, LIMITS, lambda: None)
    fault = grip.check(0.0)
    assert fault is not None
    assert fault.code == "gripper_lost"
    assert math.isnan(grip.width)


def test_a_contract_without_a_gripper_has_nothing_to_control(contract: PolicyContract) -> None:
    with pytest.raises(ContractError):
        GripperControl(contract, LIMITS, lambda: None)
