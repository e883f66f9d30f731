"""The lab arm's motions and the viewers in the graph, and the viewers' configurations."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from twist_bringup.lab_roles import arm_motion, arm_motion_packages
from twist_bringup.options import ARGUMENTS, StackOptions
from twist_bringup.robot_profile import config_folder, load_robot_profile
from twist_bringup.run_stack import command_line
from twist_bringup.stack import Process, describe

PUBLISHED = {
    "/viewer/markers",
    "/viewer/workspace",
    "/viewer/imagined_tool_path",
    "/viewer/imagined_object_path",
    "/viewer/overlay",
}
"""Topics of the viewer; docs/interfaces.md has them from its code."""


@pytest.mark.parametrize("robot", ["panda", "fr3"])
def test_a_lab_robot_is_sent_home_through_its_own_controller(robot: str) -> None:
    stack = describe(StackOptions(robot=robot, trials=2))
    motion = stack.process("arm_motion")
    profile = load_robot_profile(robot)
    values = dict(motion.parameters)
    assert values["arm"] == robot
    assert (
        values["trajectory_action"] == f"/{profile.trajectory_controller}/follow_joint_trajectory"
    )
    assert dict(motion.remappings).get("joint_states", "/joint_states") == profile.joint_states
    runner = dict(stack.process("trial_runner").parameters)
    assert runner["reset_service"] == "arm_motion/reset"
    assert (runner["judge"], runner["place"]) == ("camera", True)
    assert runner["home_service"] == "arm_motion/home"
    assert "control_msgs" in {name for name, _ in stack.packages}


def test_an_arm_on_its_way_home_is_stopped_as_soon_as_the_run_and_never_before_the_policy() -> None:
    with_trials = describe(StackOptions(robot="fr3", trials=2))
    stage = with_trials.process("arm_motion").stop_stage
    assert stage == with_trials.process("trial_runner").stop_stage
    assert stage < with_trials.process("twist_policy_node").stop_stage
    # Without a trial runner it is a person who activates the policy: nothing is waited for then.
    without = describe(StackOptions(robot="fr3"))
    assert (
        without.process("arm_motion").stop_stage == without.process("twist_policy_node").stop_stage
    )


@pytest.mark.parametrize("robot", ["panda", "fr3"])
def test_servo_reads_the_joint_states_of_the_broadcaster_that_recovery_switches_on(
    robot: str,
) -> None:
    stack = describe(StackOptions(robot=robot))
    state = stack.process("robot_state")
    (watched,) = [target for source, target in state.remappings if source == "joint_states"]
    servo = dict(stack.process("servo_node").parameters)
    assert watched == servo["moveit_servo.joint_topic"] == "/franka/joint_states"
    broadcasters = "joint_state_broadcaster franka_robot_state_broadcaster"
    assert dict(state.parameters)["broadcasters"] == broadcasters


def test_the_policy_stops_before_the_pandas_own_reflex() -> None:
    # Newtons: pixi_panda_ros2 sets the arm's reflex to 20 N per axis when it connects; the policy
    # node gives way from 15 on (`contact_yield_force`).
    assert 15.0 < load_robot_profile("panda").contact_force_limit < 20.0
    assert load_robot_profile("fr3").contact_force_limit == 25.0


def test_the_twin_resets_itself_and_is_judged_by_its_true_state_unless_asked_otherwise() -> None:
    values = dict(describe(StackOptions()).process("trial_runner").parameters)
    assert (values["judge"], values["reset_service"]) == ("truth", "robot_twin/reset")
    assert values["home_service"] == ""
    camera = StackOptions(judge="camera", camera_file="here.yaml", colours="c.yaml")
    values = dict(describe(camera).process("trial_runner").parameters)
    assert values["home_service"] == "robot_twin/home"
    assert Path(str(values["camera_file"])) == Path.cwd() / "here.yaml"
    assert Path(str(values["colours"])) == Path.cwd() / "c.yaml"


def test_nothing_that_moves_the_arm_is_started_with_the_twin_or_in_a_dry_run() -> None:
    for options in (StackOptions(), StackOptions(robot="fr3", dry_run=True)):
        assert "arm_motion" not in [process.name for process in describe(options).processes]


@pytest.mark.parametrize(
    ("method", "packages", "parameters"),
    [
        ("trajectory", ["control_msgs"], {}),
        (
            "moveit",
            ["control_msgs", "moveit_py"],
            {
                "move_group": "panda_arm",
                "urdf": "moveit_resources_panda_moveit_config/config/panda.urdf.xacro",
                "srdf": "moveit_resources_panda_moveit_config/config/panda.srdf",
                "joint_limits": str(config_folder() / "joint_limits_panda.yaml"),
            },
        ),
        (
            "ptp",
            ["controller_manager_msgs"],
            {"controller": "joint_trajectory_controller"},
        ),
    ],
)
def test_each_way_home_gets_its_parameters_and_names_its_packages(
    method: str, packages: list[str], parameters: dict[str, str]
) -> None:
    profile = dataclasses.replace(load_robot_profile("panda"), home=method)
    values = dict(arm_motion(StackOptions(robot="panda"), profile).parameters)
    assert values["method"] == method
    assert parameters.items() <= values.items()
    assert arm_motion_packages(profile) == packages


def test_the_planner_is_told_the_descriptions_xacro_arguments() -> None:
    profile = dataclasses.replace(load_robot_profile("fr3"), home="moveit")
    values = dict(arm_motion(StackOptions(robot="fr3"), profile).parameters)
    assert values["urdf"] == "franka_description/robots/fr3/fr3.urdf.xacro hand:=true"
    assert values["srdf"] == "franka_description/robots/fr3/fr3.srdf.xacro hand:=true"


def test_who_looks_on_is_no_part_of_the_control() -> None:
    choices = next(a.choices for a in ARGUMENTS if a.name == "viewer")
    for choice in choices:
        stack = describe(StackOptions(viewer=choice))
        names = [process.name for process in stack.processes]
        added = {"viewer", "rviz2", "foxglove_bridge"} & set(names)
        assert (
            added
            == {
                "none": set(),
                "topics": {"viewer"},
                "rviz": {"viewer", "rviz2"},
                "foxglove": {"viewer", "foxglove_bridge"},
            }[choice]
        )
        assert not any(stack.process(name).required for name in added)
        assert {name for name, _ in stack.packages} == added - {"viewer"}


def test_rviz_is_opened_with_our_displays_in_the_robots_base_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rviz = describe(StackOptions(robot="fr3", viewer="rviz")).process("rviz2")
    monkeypatch.setattr("twist_bringup.run_stack.command_of", lambda process: ["rviz2"])
    words = command_line(rviz, tmp_path)
    assert words[:5] == ["rviz2", "-d", words[2], "-f", "fr3_link0"]
    assert Path(words[2]).is_file()
    assert words[5] == "--ros-args"
    assert Process(name="x", package="p", executable="e").arguments == ()


def test_the_rviz_configuration_shows_what_the_viewer_publishes() -> None:
    displays = yaml.safe_load((config_folder() / "viewer.rviz").read_text())[
        "Visualization Manager"
    ]["Displays"]
    topics = {d["Topic"]["Value"]: d["Topic"] for d in displays if "Topic" in d}
    assert set(topics) == PUBLISHED
    assert topics["/viewer/workspace"]["Durability Policy"] == "Transient Local"


def test_the_foxglove_layout_shows_what_the_viewer_publishes_and_plots_surprise() -> None:
    layout = json.loads((config_folder() / "viewer.foxglove.json").read_text())
    panels = layout["configById"]
    shown = set(panels["3D!belief"]["topics"]) | {
        panels["Image!overlay"]["imageMode"]["imageTopic"]
    }
    assert shown - {"/robot_description"} == PUBLISHED
    (surprise,) = panels["Plot!surprise"]["paths"]
    assert surprise["value"] == "/twist_policy_node/step.surprise"

    def placed(node: object) -> set[str]:
        if isinstance(node, str):
            return {node}
        assert isinstance(node, dict)
        return placed(node["first"]) | placed(node["second"])

    assert placed(layout["layout"]) == set(panels)
