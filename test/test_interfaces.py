"""docs/interfaces.md says what the code does."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def interfaces() -> Any:
    spec = importlib.util.spec_from_file_location("interfaces", ROOT / "scripts/interfaces.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["interfaces"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_document_is_up_to_date(interfaces: Any) -> None:
    assert (ROOT / "docs/interfaces.md").read_text() == interfaces.document(), (
        "docs/interfaces.md is out of date; run: python scripts/interfaces.py"
    )


def rows(interfaces: Any, executable: str) -> set[tuple[str, str, str, str]]:
    _, module = interfaces.executables()[executable]
    return {
        (row.kind, row.name, row.type, row.qos)
        for part in interfaces.closure(module)
        for row in interfaces.interfaces_of(part)
    }


def test_names_types_and_qos_are_found_across_modules_tables_and_fallbacks(
    interfaces: Any,
) -> None:
    policy = rows(interfaces, "policy_node")
    assert {
        ("publishes", "~/step", "twist_msgs/msg/PolicyStep", "reliable, depth 10"),
        # Names and types looked up in tables, together:
        (
            "publishes",
            "servo_node/pose_target_cmds",
            "geometry_msgs/msg/PoseStamped",
            "reliable, depth 1",
        ),
        ("subscribes", "image_raw", "sensor_msgs/msg/Image", "best effort, depth 1"),
        # A type that is imported from where it is chosen:
        (
            "calls",
            "servo_node/switch_command_type",
            "moveit_msgs/srv/ServoCommandType",
            "",
        ),
    } <= policy
    arm = rows(interfaces, "arm_motion")
    # A type that is imported only when it is needed, a name that is a parameter:
    assert (
        "calls action",
        "<trajectory_action>",
        "control_msgs/action/FollowJointTrajectory",
        "",
    ) in arm
    viewer = rows(interfaces, "viewer")
    assert (
        "publishes",
        "~/workspace",
        "visualization_msgs/msg/MarkerArray",
        "reliable, transient local, depth 1",
    ) in viewer


def test_every_executable_with_interfaces_is_in_the_document(interfaces: Any) -> None:
    text = interfaces.document()
    for name in interfaces.ORDER:
        assert f"\n## {name}\n" in text
    for name in interfaces.executables():
        assert (f"\n## {name}\n" in text) == bool(rows(interfaces, name))
