"""Robot profiles are checked when they are read: every mistake names its file and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from twist_bringup.robot_profile import ProfileError, config_folder, load_robot_profile, load_yaml


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes the FR3's profile with some keys changed, and returns what reading it says."""
    good = load_yaml(config_folder() / "robots" / "fr3.yaml")
    for name in (good["servo_parameters"], good["joint_limits"], good["camera"]):
        (tmp_path / name).write_text("{}\n")
    (tmp_path / "robots").mkdir()
    monkeypatch.setattr("twist_bringup.robot_profile.config_folder", lambda: tmp_path)

    def read(changes: dict[str, Any]) -> str:
        data = {key: value for key, value in {**good, **changes}.items() if value != "LEAVE OUT"}
        (tmp_path / "robots" / "odd.yaml").write_text(yaml.safe_dump(data))
        with pytest.raises(ProfileError) as caught:
            load_robot_profile("odd")
        return str(caught.value)

    return read


RECOVERY = {
    "kind": "action",
    "name": "/a",
    "steps": ["error_recovery"],
    "hardware_component": "",
    "broadcasters": [],
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ee_pose": "LEAVE OUT"}, "missing keys ['ee_pose']"),
        ({"ee_posse": "/ee_pose"}, "unknown keys ['ee_posse']"),
        ({"joints": ["j1", "j2"]}, "joints must be 7 different names"),
        ({"joints": ["j1"] * 7}, "joints must be 7 different names"),
        ({"joints": "j1"}, "joints: expected a list"),
        ({"joint_states": "joint_states"}, "joint_states must be an absolute name"),
        ({"gripper": "/franka_gripper/"}, "gripper must be an absolute name"),
        ({"contact_force_limit": 0.0}, "within 1..200 N, found 0.0"),
        ({"contact_force_limit": "much"}, "contact_force_limit: expected a number"),
        ({"contact_force_limit": True}, "contact_force_limit: expected a number"),
        ({"home": "teleport"}, "trajectory, moveit, ptp, twin"),
        ({"home": "twin"}, "not sent home by the twin"),
        ({"driver": None}, "not sent home by the twin"),
        ({"planning_scene": "mine"}, "servo, move_group"),
        ({"trajectory_controller": ""}, "needs the name of its trajectory_controller"),
        ({"servo_parameters": "servo_ur5.yaml"}, "names servo_ur5.yaml, which is not in"),
        ({"urdf": {"package": "p", "file": "f", "arguments": {"hand": True}}}, "put quotes around"),
        ({"recovery": {**RECOVERY, "kind": "prayer"}}, "recovery: kind is 'prayer'"),
        ({"recovery": {**RECOVERY, "steps": ["reboot"]}}, "recovery: steps is 'reboot'"),
        ({"recovery": {**RECOVERY, "steps": ["activate_hardware"]}}, "needs a hardware_component"),
        ({"recovery": {**RECOVERY, "steps": ["activate_broadcasters"]}}, "needs broadcasters"),
    ],
)
def test_a_wrong_profile_is_refused_with_file_and_key(
    profile: Any, changes: dict[str, Any], words: str
) -> None:
    message = profile(changes)
    assert "odd.yaml" in message
    assert words in message
