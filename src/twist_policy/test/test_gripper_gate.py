from __future__ import annotations

import dataclasses
import math

import pytest

from twist_policy.action_gate import GateError
from twist_policy.contract import ContractError, PolicyContract
from twist_policy.gripper_gate import CLOSED, OPEN, GripperDecision, GripperGate


def decisions(gate: GripperGate, actions: list[float]) -> list[str | None]:
    return [gate.step(action).command for action in actions]


def test_it_starts_open_and_may_close_at_once() -> None:
    gate = GripperGate(10)
    assert gate.state == OPEN
    assert not gate.busy
    assert gate.step(-1.0) == GripperDecision(None, OPEN)
    assert gate.step(1.0) == GripperDecision("close", CLOSED)
    assert gate.step(1.0) == GripperDecision(None, CLOSED)


def test_weak_wishes_change_nothing() -> None:
    gate = GripperGate(1)
    assert decisions(gate, [0.25, 0.26, 0.0, -0.25, -0.26]) == [None, "close", None, None, "open"]


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_a_command_is_not_changed_before_it_is_over(steps: int) -> None:
    gate = GripperGate(steps)
    assert gate.step(1.0).command == "close"
    for _ in range(steps - 1):
        assert gate.busy
        assert gate.step(-1.0) == GripperDecision(None, CLOSED)
    assert not gate.busy
    assert gate.step(-1.0) == GripperDecision("open", OPEN)


def test_a_wish_during_a_command_is_not_kept_for_later() -> None:
    gate = GripperGate(3)
    assert decisions(gate, [1.0, -1.0, -1.0, 0.0, 0.0]) == ["close", None, None, None, None]


def test_reset_forgets_the_command() -> None:
    gate = GripperGate(10)
    gate.step(1.0)
    gate.reset()
    assert decisions(gate, [0.0, 1.0]) == [None, "close"]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_is_refused_and_changes_nothing(bad: float) -> None:
    gate = GripperGate(2)
    gate.step(1.0)
    with pytest.raises(GateError, match="must be finite"):
        gate.step(bad)
    assert decisions(gate, [-1.0, -1.0]) == [None, "open"]


@pytest.mark.parametrize(
    ("seconds", "period", "steps"),
    [(1.0, 0.1, 10), (1.1, 0.1, 11), (0.95, 0.1, 10), (0.01, 0.1, 1)],
)
def test_the_contract_gives_the_steps(
    gripper_contract: PolicyContract, seconds: float, period: float, steps: int
) -> None:
    gripper = dataclasses.replace(gripper_contract.gripper, command_time=seconds)
    contract = dataclasses.replace(gripper_contract, control_period=period, gripper=gripper)
    assert GripperGate.from_contract(contract).command_steps == steps


def test_a_task_without_a_gripper_has_no_gate(contract: PolicyContract) -> None:
    with pytest.raises(ContractError, match="has no gripper"):
        GripperGate.from_contract(contract)
    with pytest.raises(ValueError, match="at least 1"):
        GripperGate(0)
