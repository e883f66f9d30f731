"""What configuring connects, and that a configuration that fails leaves nothing behind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy")

from twist_policy.contract import PolicyContract
from twist_policy_node import activation
from twist_policy_node.commands import CommandMode, CommandShaper

PARTS = ("CameraInput", "CameraInfoInput", "PoseInput", "RobotStateInput", "ServoClient")


@pytest.mark.parametrize("failing", [*PARTS, "GripperClient", "none"])
def test_connections_of_a_configuration_that_fails_are_taken_back(
    gripper_contract: PolicyContract, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    connected: set[str] = set()

    def part(name: str) -> Any:
        def make(*_: Any, **__: Any) -> Any:
            if name == failing:
                raise ValueError("no such name")
            connected.add(name)
            return SimpleNamespace(destroy=lambda: connected.remove(name))

        return make

    for name in (*PARTS, "GripperClient"):
        monkeypatch.setattr(activation, name, part(name))

    def equipment() -> activation.Equipment:
        return activation.Equipment(
            SimpleNamespace(),  # type: ignore[arg-type]
            SimpleNamespace(contract=gripper_contract),  # type: ignore[arg-type]
            SimpleNamespace(),  # type: ignore[arg-type]
            CommandShaper(gripper_contract, CommandMode.POSE),
            "panda_link0",
            "jazzy",
            1.0,
            False,
            "franka_gripper",
            SimpleNamespace(
                on_frame=None, on_bad_frame=None, on_pose=None, on_bad_pose=None,
                on_robot_state=None, on_servo_status=None,
            ),
        )  # fmt: skip

    if failing == "none":
        made = equipment()
        assert connected == {*PARTS, "GripperClient"}
        made.destroy()
    else:
        with pytest.raises(ValueError, match="no such name"):
            equipment()
    assert not connected
