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


def nodes_of(words: dict[str, str]) -> list[Any]:
    """The node actions that the launch file starts, with all substitutions performed."""
    from launch import LaunchContext
    from launch_ros.actions import Node

    context = LaunchContext()
    context.launch_configurations.update(words)
    nodes: list[Any] = []

    def visit(entity: Any) -> None:
        if isinstance(entity, Node):
            entity._perform_substitutions(context)
            nodes.append(entity)
            return
        for child in entity.visit(context) or []:
            visit(child)

    for entity in launch_description().entities:
        visit(entity)
    return nodes


@pytest.mark.parametrize("command_mode", ["pose", "twist"])
@pytest.mark.parametrize("robot", ["sim", "panda", "fr3"])
def test_the_launch_file_starts_what_is_described_for_every_robot(
    robot: str, command_mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The lab's packages are not here; what is launched does not depend on that.
    for check in ("check_packages", "check_programs"):
        monkeypatch.setattr(f"twist_bringup.launch_stack.{check}", lambda stack: None)
    monkeypatch.setattr("twist_bringup.stack.moveit_parameters", lambda files: {})
    chosen = {"robot": robot, "command_mode": command_mode, "camera_file": "none"}
    nodes = nodes_of(chosen | {"output": str(tmp_path)})
    described = describe(StackOptions(**chosen)).processes  # type: ignore[arg-type]
    assert [node.node_name.rpartition("/")[2] for node in nodes] == [p.name for p in described]
    assert [node.expanded_remapping_rules or [] for node in nodes] == [
        list(process.remappings) for process in described
    ]


@pytest.mark.parametrize(("word", "dry"), [("True", True), ("1", True), ("false", False)])
def test_truth_values_are_spelled_as_for_run_stack(word: str, dry: bool, tmp_path: Path) -> None:
    nodes = nodes_of({"dry_run": word, "trials": "0", "output": str(tmp_path)})
    assert ("servo_node" not in [node.node_name.rpartition("/")[2] for node in nodes]) == dry


def test_the_launch_file_says_what_is_missing_before_it_starts_anything(tmp_path: Path) -> None:
    from twist_bringup.stack import StackError

    with pytest.raises(StackError, match=r"franka_bringup: build pixi_panda_ros2.*start it first"):
        nodes_of({"robot": "panda", "output": str(tmp_path)})
    missing = str(tmp_path / "none")
    with pytest.raises(StackError, match=r"checkpoint folder .*none does not exist"):
        nodes_of({"robot": "sim", "output": str(tmp_path), "checkpoint": missing})
