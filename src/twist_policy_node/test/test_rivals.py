"""Who else could command the arm."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from twist_policy_node.activation import find_rival


@pytest.mark.parametrize(
    ("names", "others", "code"),
    [
        (["twist_policy_node", "servo_node"], [], None),
        (["twist_policy_node", "servo_node", "twist_policy_node"], [], "duplicate_node"),
        (["twist_policy_node"], ["/teleop on /servo_node/delta_twist_cmds"], "other_commander"),
    ],
)
def test_a_rival_is_a_node_of_the_same_name_or_another_commander(
    names: list[str], others: list[str], code: str | None
) -> None:
    node: Any = SimpleNamespace(
        get_fully_qualified_name=lambda: "/twist_policy_node",
        get_node_names_and_namespaces=lambda: [(name, "/") for name in names],
    )
    servo: Any = SimpleNamespace(other_commanders=lambda: others)
    fault = find_rival(node, servo)
    assert (fault.code if fault is not None else None) == code
