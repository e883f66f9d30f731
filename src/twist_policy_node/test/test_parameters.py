from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from twist_policy.contract import PolicyContract
from twist_policy_node.gripper import GripperLimits
from twist_policy_node.parameters import (
    ROWS,
    TABLE,
    ParameterError,
    check_together,
    check_value,
    default_values,
    gripper_limits,
    markdown_table,
    watchdog_limits,
)
from twist_policy_node.watchdogs import WatchdogLimits


def test_the_readme_holds_exactly_this_table() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert markdown_table() in readme, (
        "README.md is out of date; paste the output of python3 -m twist_policy_node.parameters"
    )


def test_every_default_satisfies_its_own_row_and_all_rows_together(
    contract: PolicyContract,
) -> None:
    for row in TABLE:
        check_value(row, row.default)
        assert row.description.endswith(".")
        if isinstance(row.default, (int, float)) and not isinstance(row.default, bool):
            assert row.minimum is not None
            assert row.maximum is not None
    check_together(default_values(), contract)
    assert len(ROWS) == len(TABLE)


@pytest.mark.parametrize(
    "name", ["franka-gripper", "left gripper", "1st", "a//b", "a/", "~a", "//a"]
)
def test_a_gripper_that_no_node_can_have_is_refused_by_name(
    gripper_contract: PolicyContract, name: str
) -> None:
    for good in ("franka_gripper", "/left/franka_gripper", "~/gripper"):
        check_together(default_values() | {"gripper": good}, gripper_contract)
    with pytest.raises(ParameterError, match=f"parameter gripper is {name!r}"):
        check_together(default_values() | {"gripper": name}, gripper_contract)


def test_the_defaults_are_the_watchdogs_own() -> None:
    assert watchdog_limits(default_values()) == WatchdogLimits()
    assert gripper_limits(default_values()) == GripperLimits()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("command_rate", 0.0, "20.0..200.0"),
        ("command_rate", math.nan, "finite"),
        ("command_rate", math.inf, "finite"),
        ("command_rate", 50, "write 50.0"),
        ("command_rate", "fast", "type double"),
        ("frozen_frame_limit", 5.0, "type integer"),
        ("frozen_frame_limit", True, "type integer"),
        ("frozen_frame_limit", 1, "within 2"),
        ("autostart", 1, "type bool"),
        ("command_mode", "joint", "pose, twist"),
        ("checkpoint", 3, "type string"),
        ("frame_age_limit", 0.0, "within"),
    ],
)
def test_a_bad_value_is_refused_with_type_or_range(name: str, value: Any, expected: str) -> None:
    with pytest.raises(ParameterError, match=name) as error:
        check_value(ROWS[name], value)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"surprise_slow": 100.0, "surprise_stop": 100.0}, ["surprise_slow", "surprise_stop"]),
        ({"inference_time_limit": 0.2}, ["inference_time_limit", "control period"]),
        ({"stop_hold_time": 0.04, "command_rate": 20.0}, ["stop_hold_time", "command_rate"]),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(
    contract: PolicyContract, changes: dict[str, Any], names: list[str]
) -> None:
    with pytest.raises(ParameterError) as error:
        check_together(default_values() | changes, contract)
    for name in names:
        assert name in str(error.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"gripper": ""}, "task 'block_lift' uses a gripper, but parameter gripper is empty"),
        ({"gripper_command_limit": 0.2}, "gripper_command_limit (0.2 s) must exceed"),
    ],
)
def test_gripper_parameters_count_for_a_task_with_a_gripper_only(
    contract: PolicyContract,
    gripper_contract: PolicyContract,
    changes: dict[str, Any],
    expected: str,
) -> None:
    check_together(default_values(), gripper_contract)
    check_together(default_values() | changes, contract)
    with pytest.raises(ParameterError) as error:
        check_together(default_values() | changes, gripper_contract)
    assert expected in str(error.value)
