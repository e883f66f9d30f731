"""The launch file says what the description says. Skipped where launch_ros is not installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("launch_ros", reason="launch_ros comes with a ROS installation")

from twist_bringup.options import ARGUMENTS, StackOptions
from twist_bringup.stack import describe

LAUNCH_FILE = Path(__file__).resolve().parents[1] / "launch" / "block_push.launch.py"


def launch_description() -> Any:
    spec = importlib.util.spec_from_file_location("block_push_launch", LAUNCH_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def test_every_option_is_a_launch_argument_with_its_choices_default_and_description() -> None:
    declared = {item.name: item for item in launch_description().get_launch_arguments()}
    expected = {argument.name: argument for argument in ARGUMENTS if argument.launch}
    assert declared.keys() == expected.keys()
    for name, argument in expected.items():
        assert declared[name].description.startswith(argument.description)
        assert [part.text for part in declared[name].default_value or []] in (
            [argument.default_text],
            [],
        )
        if argument.choices:
            assert tuple(declared[name].choices) == argument.choices


def test_one_node_per_process_and_the_policy_is_a_lifecycle_node() -> None:
    from launch_ros.actions import LifecycleNode

    from twist_bringup.launch_stack import actions_of

    stack = describe(StackOptions())
    actions: list[Any] = list(actions_of(stack))
    assert [action.node_package for action in actions] == [p.package for p in stack.processes]
    assert [isinstance(action, LifecycleNode) for action in actions] == [
        process.lifecycle for process in stack.processes
    ]
