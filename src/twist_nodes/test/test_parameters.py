"""A node's table of parameters: what is given, what is refused, and what ROS's tools are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

from rclpy.node import Node
from rclpy.parameter import Parameter

from twist_nodes.parameters import (
    RCLPY_PARAMETERS,
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


@pytest.mark.parametrize("automatic", [False, True])
def test_a_misspelt_name_is_refused_with_the_nearest_and_the_known_ones(
    make_node: MakeNode, automatic: bool
) -> None:
    node = make_node(
        "arm",
        given={"limt": 0.05, "zzz": 1},
        automatically_declare_parameters_from_overrides=automatic,
    )
    with pytest.raises(ParameterError) as caught:
        declare_parameters(node, TABLE)
    message = str(caught.value)
    assert message.startswith("there is no parameter 'limt' (did you mean limit?), nor 'zzz'; arm ")
    assert "arm has count, limit, record, arm, topics, delay." in message


def test_names_with_dots_are_names_like_others(make_node: MakeNode) -> None:
    table = (ParameterRow("servo.scale.linear", 0.2, "m/s", (0.0, 1.0)),)
    given = {"servo.scale.linear": 0.1}
    assert declare_parameters(make_node(given=given), table) == given
    for name in ("servo.scale.linaer", "scale.linear", "servo.scale"):
        with pytest.raises(ParameterError, match=r"did you mean servo\.scale\.linear\?"):
            declare_parameters(make_node(given={name: 0.1}), table)


def test_names_that_a_node_looks_at_itself_pass_by_their_prefix(make_node: MakeNode) -> None:
    given = {"rgb.gain": 64, "limit": 1.5}
    node = make_node(given=given)
    assert declare_parameters(node, TABLE, prefixes=("rgb.",))["limit"] == 1.5
    with pytest.raises(ParameterError, match=r"'rbg\.gain'; tested has .*, delay, rgb\.\*\."):
        declare_parameters(make_node(given={"rbg.gain": 64}), TABLE, prefixes=("rgb.",))


@pytest.mark.parametrize("automatic", [False, True])
def test_rclpys_own_parameters_pass(make_node: MakeNode, automatic: bool) -> None:
    given = {
        "use_sim_time": False,
        "start_type_description_service": False,
        "qos_overrides./parameter_events.publisher.depth": 10,
    }
    node = make_node(given=given, automatically_declare_parameters_from_overrides=automatic)
    assert declare_parameters(node, TABLE) == DEFAULTS
    with pytest.raises(ParameterError, match="no parameter 'use_sim_tme'"):
        declare_parameters(make_node(given={"use_sim_tme": True}), TABLE)


def test_rclpy_declares_what_this_package_says_it_does(make_node: MakeNode) -> None:
    assert set(make_node().list_parameters([], 0).names) == set(RCLPY_PARAMETERS)


def test_a_file_may_hold_sections_for_other_nodes_but_below_all_nodes_nothing_of_only_one(
    make_node: MakeNode, tmp_path: Path
) -> None:
    file = tmp_path / "parameters.yaml"
    given = ["--ros-args", "--params-file", str(file)]
    sections = "arm: {ros__parameters: {limit: 1.5}}\nviewer: {ros__parameters: {colour: red}}\n"
    file.write_text(sections)
    assert declare_parameters(make_node("arm", cli_args=given), TABLE)["limit"] == 1.5
    file.write_text(sections + "/**: {ros__parameters: {use_sim_time: false, colour: red}}\n")
    with pytest.raises(ParameterError, match=r"no parameter 'colour'; .*below /\*\*.*their names"):
        declare_parameters(make_node("arm", cli_args=given), TABLE)


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
