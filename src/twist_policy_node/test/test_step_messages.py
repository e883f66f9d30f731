"""Decisions as messages."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("twist_msgs")

from builtin_interfaces.msg import Time

from twist_policy.contract import PolicyContract, StateField
from twist_policy_node.gripper import Goal, GripperResult, GripperStep
from twist_policy_node.step_messages import BeliefMessages, step_message

FIELDS = (
    StateField("ee_position", "m", 3, (0.0, 0.0, 0.0), 1.0),
    StateField("goal_position", "m", 2, (0.0, 0.0), 1.0),
)


def test_a_goal_in_the_plane_is_a_point_and_a_missing_object_is_not(
    contract: PolicyContract,
) -> None:
    contract = dataclasses.replace(contract, state=FIELDS)
    belief = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    decision = SimpleNamespace(output=SimpleNamespace(belief=belief, surprise=1.0), step=3)
    message = BeliefMessages(contract, "panda_link0").message(decision, Time(), None)
    assert (message.ee_position.x, message.ee_position.z) == (0.1, 0.3)
    goal = message.goal_position
    assert (goal.x, goal.y, goal.z) == (0.4, 0.5, 0.0)
    assert math.isnan(message.object_position.x)


def step_with(gripper: GripperStep | None) -> Any:
    numbers = {
        "step": 0,
        "started": 0.0,
        "inference_time": 0.0,
        "frame": SimpleNamespace(captured=0.0),
        "output": SimpleNamespace(action=np.zeros(4), surprise=1.0),
        "gated": SimpleNamespace(delta=np.zeros(3), target=np.zeros(3), limited_by=()),
        "measured": np.zeros(3),
        "speed_scale": 1.0,
    }
    return step_message(
        SimpleNamespace(**numbers, gripper=gripper),  # type: ignore[arg-type]
        frame_id="panda_link0",
        image_stamp=Time(),
        decided=Time(),
        published=Time(),
        latency=0.0,
    )


def test_a_step_shows_what_the_gripper_is_told_and_how_it_stands() -> None:
    step = GripperStep(0.5, 1.0, Goal("close", 0.0), GripperResult.RUNNING, 0.0625)
    message = step_with(step)
    assert (message.gripper_action, message.gripper_state) == (0.5, 1.0)
    assert (message.gripper_command, message.gripper_result) == ("close", "running")
    assert message.gripper_width == 0.0625
    message = step_with(GripperStep(0.5, 1.0, None, GripperResult.FAILED, math.nan))
    assert (message.gripper_command, message.gripper_result) == ("", "failed")


def test_a_step_without_a_gripper_makes_no_numbers_up() -> None:
    message = step_with(None)
    numbers = (message.gripper_action, message.gripper_state, message.gripper_width)
    assert all(math.isnan(number) for number in numbers)
    assert message.gripper_command == message.gripper_result == ""
