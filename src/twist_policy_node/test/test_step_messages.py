"""Decisions as messages."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("twist_msgs")

from builtin_interfaces.msg import Time

from twist_policy.contract import PolicyContract, StateField
from twist_policy_node.step_messages import BeliefMessages

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
