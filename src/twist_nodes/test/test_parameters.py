"""A node's table of parameters: what is given, what is refused, and what ROS's tools are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("rclpy")

from rclpy.node import Node
from rclpy.parameter import Parameter

from twist_nodes.parameters import (
    ParameterError,
    ParameterRow,
    declare_parameters,
    parameter_descriptor,
)

MakeNode = Callable[..., Node]
TABLE = (
    ParameterRow("count", 3, "how many", (1, 2**62)),
    ParameterRow("limit", 0.5, "metres", (0.0, 2.0)),
    ParameterRow("record", True, "whether"),
    ParameterRow("arm", "panda", "whose", choices=("panda", "fr3")),
    ParameterRow("topics", ["/a", "/b"], "which"),
    ParameterRow("delay", 1.0, "seconds", (0.0, 5.0), read_only=False),
)
DEFAULTS: dict[str, Any] = {row.name: row.default for row in TABLE}


def test_every_row_has_its_default_or_what_was_given(make_node: MakeNode) -> None:
    given = {"limit": 1.5, "arm": "fr3", "topics": ["/c"]}
    assert declare_parameters(make_node(given=given), TABLE) == DEFAULTS | given


@pytest.mark.parametrize("limit", [0.0, 2.0])
def test_both_bounds_are_allowed(make_node: MakeNode, limit: float) -> None:
    assert declare_parameters(make_node(given={"limit": limit}), TABLE)["limit"] == limit


REFUSED = [
    ("limit", 2.5, r"parameter limit is refused .*; it must be of type float within 0\.0\.\.2\.0"),
    ("limit", 1, r"parameter limit is refused .*; it must be of type float within 0\.0\.\.2\.0"),
    ("count", 0, r"parameter count is refused .*; it must be of type int within 1\.\."),
    ("record", "yes", r"parameter record is refused .*; it must be of type bool"),
    ("arm", "ur5", r"parameter arm is 'ur5'; it must be one of panda, fr3"),
    ("topics", "/a", r"parameter topics is refused .*; it must be of type list"),
]


@pytest.mark.parametrize("automatic", [False, True])
@pytest.mark.parametrize(("name", "value", "message"), REFUSED)
def test_a_wrong_value_is_refused_with_name_and_cure(
    make_node: MakeNode, name: str, value: Any, message: str, automatic: bool
) -> None:
    # A node that takes parameters of any name has them declared before the table is.
    node = make_node(given={name: value}, automatically_declare_parameters_from_overrides=automatic)
    with pytest.raises(ParameterError, match=message):
        declare_parameters(node, TABLE)


def test_what_rclpy_declared_itself_becomes_a_row_like_the_others(make_node: MakeNode) -> None:
    node = make_node(given={"limit": 1.5}, automatically_declare_parameters_from_overrides=True)
    assert declare_parameters(node, TABLE) == DEFAULTS | {"limit": 1.5}
    descriptor = node.describe_parameter("limit")
    assert (descriptor.description, descriptor.read_only) == ("metres", True)


def test_a_read_only_row_stays_and_another_one_changes_within_its_bounds(
    make_node: MakeNode,
) -> None:
    node = make_node()
    declare_parameters(node, TABLE)
    changes = [("limit", 1.0), ("delay", 9.0), ("delay", 2.0)]
    results = [node.set_parameters([Parameter(name, value=v)])[0] for name, v in changes]
    assert [result.successful for result in results] == [False, False, True]
    assert (node.get_parameter("limit").value, node.get_parameter("delay").value) == (0.5, 2.0)


def test_a_descriptor_says_type_bounds_and_choices() -> None:
    count, limit, record, arm, topics, delay = map(parameter_descriptor, TABLE)
    (whole,), (real,) = count.integer_range, limit.floating_point_range
    assert (whole.from_value, whole.to_value, whole.step) == (1, 2**62, 1)
    assert (real.from_value, real.to_value, real.step) == (0.0, 2.0, 0.0)
    assert not record.integer_range
    assert not record.floating_point_range
    assert arm.additional_constraints == "one of panda, fr3"
    assert topics.type == Parameter.Type.STRING_ARRAY.value
    assert limit.read_only
    assert not delay.read_only
