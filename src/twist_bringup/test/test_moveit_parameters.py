"""The robot's description, asked of a stand-in for MoveIt's builder."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from twist_bringup.moveit_parameters import MoveItError, MoveItFiles, moveit_parameters
from twist_bringup.robot_profile import config_folder, load_robot_profile


def files(robot: str) -> MoveItFiles:
    profile = load_robot_profile(robot)
    return MoveItFiles(profile.moveit_config, profile.urdf, profile.srdf, profile.joint_limits)


class Builder:
    """Notes what it is asked; has the methods, path rules and demands of MoveIt's builder."""

    urdf = "<robot/>"

    def __init__(self, name: str, package_name: str) -> None:
        self.package = Path("/share") / package_name
        self.name = name
        self._found = SimpleNamespace()
        # Every planner's configuration that comes with the builder, unless some are named.
        self._pipelines = ["ompl", "chomp", "stomp", "pilz_industrial_motion_planner"]

    def _note(self, key: str, file_path: str, mappings: dict[str, str] | None = None) -> Builder:
        value = {"path": str(self.package / file_path), "mappings": mappings}
        setattr(self._found, key, {key: value})
        return self

    def to_moveit_configs(self) -> SimpleNamespace:
        assert self.name in ("fr3", "panda"), "else it cannot choose among the controller files"
        if "pilz_industrial_motion_planner" in self._pipelines and "fr3" in self.package.name:
            raise FileNotFoundError(self.package / "config/pilz_cartesian_limits.yaml")
        return self._found

    def planning_pipelines(self, pipelines: list[str]) -> Builder:
        self._pipelines = pipelines
        return self

    def robot_description(self, file_path: str, mappings: dict[str, str]) -> Builder:
        self._note("robot_description", file_path, mappings)
        if not self.urdf:
            self._found.robot_description = {}
        return self

    def robot_description_semantic(self, file_path: str, mappings: dict[str, str]) -> Builder:
        return self._note("robot_description_semantic", file_path, mappings)

    def robot_description_kinematics(self, file_path: str) -> Builder:
        return self._note("robot_description_kinematics", file_path)

    def joint_limits(self, file_path: str) -> Builder:
        return self._note("joint_limits", file_path)


@pytest.fixture
def moveit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """MoveIt as if it were installed, with every package but ours below /share."""
    module = ModuleType("moveit_configs_utils")
    module.MoveItConfigsBuilder = Builder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "moveit_configs_utils", module)
    ours = config_folder().parent

    def share(name: str) -> str:
        return str(ours) if name == "twist_bringup" else f"/share/{name}"

    index = ModuleType("ament_index_python.packages")
    index.get_package_share_directory = share  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ament_index_python.packages", index)
    return module


def test_the_fr3_is_described_by_the_package_that_its_moveit_package_lacks(
    moveit: ModuleType,
) -> None:
    found: Any = moveit_parameters(files("fr3"))
    folder = "/share/franka_description/robots/fr3"
    assert found["robot_description"]["path"] == f"{folder}/fr3.urdf.xacro"
    assert found["robot_description"]["mappings"] == {"hand": "true"}
    assert found["robot_description_semantic"]["path"] == f"{folder}/fr3.srdf.xacro"
    kinematics = "/share/franka_fr3_moveit_config/config/kinematics.yaml"
    assert found["robot_description_kinematics"]["path"] == kinematics
    assert found["joint_limits"]["path"] == str(config_folder() / "joint_limits_fr3.yaml")


def test_without_moveit_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "moveit_configs_utils", None)
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    with pytest.raises(MoveItError, match="ros-jazzy-moveit under /opt/ros"):
        moveit_parameters(files("panda"))


def test_an_empty_or_broken_description_names_its_file(
    moveit: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real builder only warns when the URDF is not there.
    monkeypatch.setattr(Builder, "urdf", "")
    with pytest.raises(MoveItError, match=r"robot_description came out empty.*fr3\.urdf\.xacro"):
        moveit_parameters(files("fr3"))

    ours = config_folder().parent

    def broken(name: str) -> str:
        if name == "twist_bringup":
            return str(ours)
        raise LookupError(f"package {name!r} not found")

    monkeypatch.setattr(
        sys.modules["ament_index_python.packages"], "get_package_share_directory", broken
    )
    with pytest.raises(MoveItError, match="'franka_description' not found"):
        moveit_parameters(files("fr3"))
