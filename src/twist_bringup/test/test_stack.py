"""The description: every allowed combination describes a whole graph, the others say why not."""

from __future__ import annotations

import dataclasses
import itertools
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from twist_bringup.executables import check_packages, check_programs, command_of
from twist_bringup.options import ARGUMENTS, StackOptions
from twist_bringup.robot_profile import (
    ProfileError,
    config_folder,
    load_robot_profile,
    load_yaml,
)
from twist_bringup.stack import Process, StackError, complete, describe

CHOICES = {argument.name: argument.choices for argument in ARGUMENTS if argument.choices}
COMBINATIONS = list(itertools.product(CHOICES["robot"], CHOICES["camera"], CHOICES["servo"]))


def options(robot: str, camera: str, servo: str) -> StackOptions:
    return StackOptions(
        robot=robot, camera=camera, servo=servo, bag="somewhere" if camera == "bag" else ""
    )


@pytest.mark.parametrize(("robot", "camera", "servo"), COMBINATIONS)
def test_a_combination_describes_one_of_each_role_or_says_what_to_use(
    robot: str, camera: str, servo: str
) -> None:
    chosen = options(robot, camera, servo)
    if robot != "sim" and (camera in ("sim", "bag", "mock") or servo == "embedded"):
        with pytest.raises(StackError, match=r"use\s(camera:=realsense|servo:=moveit)"):
            describe(chosen)
        return
    stack = describe(chosen)
    names = [process.name for process in stack.processes]
    assert len(set(names)) == len(names)
    assert {"servo_node", "twist_policy_node", "recorder"} <= set(names)
    assert ("robot_twin" in names) == (robot == "sim")
    assert ("trial_runner" in names) == (robot == "sim")
    twin = robot == "sim" and "camera" not in str(stack.process("robot_twin").remappings)
    shown = names.count("camera") + names.count("mock_camera") + twin
    assert shown == (camera != "running")
    needed = {package for package, _ in stack.packages}
    assert ("moveit_servo" in needed) == (chosen.servo_source == "moveit")
    assert ("realsense2_camera" in needed) == (chosen.camera_source == "realsense")


def test_the_newcomers_graph_needs_no_package_of_others() -> None:
    stack = describe(StackOptions())
    assert stack.packages == ()
    assert [process.name for process in stack.processes if not process.required] == []
    assert [process.name for process in stack.processes if process.finishes] == ["trial_runner"]


def test_missing_packages_are_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    stack = describe(StackOptions(robot="fr3"))
    # With the wheels ROS itself comes first: they know of no such packages.
    monkeypatch.delenv("ROS_DISTRO")
    without_ros = describe(StackOptions(servo="moveit"))
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    with pytest.raises(StackError) as caught:
        check_packages(stack)
    message = str(caught.value)
    assert "sudo apt install ros-$ROS_DISTRO-moveit-servo" in message
    assert "sudo apt install ros-$ROS_DISTRO-realsense2-camera" in message
    assert "franka_ros2" in message
    with pytest.raises(StackError, match="TWIST_ROS=/opt/ros/jazzy make setup build"):
        check_packages(without_ros)


def test_a_missing_program_says_to_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    with pytest.raises(StackError, match="make build"):
        command_of(Process(name="x", package="twist_nothing", executable="x", module="no.such"))


def test_missing_programs_are_named_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stack = describe(StackOptions())
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    with pytest.raises(StackError, match="twist_sim/robot_twin, twist_sim/servo_stand_in"):
        check_programs(stack)


def test_an_installed_program_is_preferred_to_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "share/ament_index/resource_index/packages/twist_bringup"
    program = tmp_path / "lib/twist_bringup/mock_camera"
    for path in (marker, program):
        path.parent.mkdir(parents=True)
        path.touch(mode=0o755)
    process = Process(
        name="c",
        package="twist_bringup",
        executable="mock_camera",
        module="twist_bringup.mock_camera",
    )
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path}")
    assert command_of(process) == [str(program)]
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    assert "twist_bringup.mock_camera" in command_of(process)[-1]


def test_camera_bag_needs_a_bag_and_a_bag_needs_camera_bag() -> None:
    with pytest.raises(StackError, match="bag:=<folder"):
        describe(StackOptions(camera="bag"))
    with pytest.raises(StackError, match="only used with camera:=bag"):
        describe(StackOptions(bag="x"))


def test_the_trial_runner_stops_first_and_the_robot_last() -> None:
    stack = describe(StackOptions())
    order = sorted(stack.processes, key=lambda process: process.stop_stage)
    assert order[0].name == "trial_runner"
    assert order[-1].name == "robot_twin"
    policy, recorder = stack.process("twist_policy_node"), stack.process("recorder")
    assert policy.stop_stage < recorder.stop_stage


def test_without_trials_or_recording_their_processes_are_left_out() -> None:
    names = [p.name for p in describe(StackOptions(trials=0, record=False)).processes]
    assert names == ["robot_twin", "servo_node", "twist_policy_node"]


def test_a_lab_robot_runs_no_trials_unless_asked() -> None:
    names = [p.name for p in describe(StackOptions(robot="panda")).processes]
    assert "trial_runner" not in names


def test_who_judges_is_the_twin_or_in_the_lab_camera_and_operator() -> None:
    def told(**options: Any) -> dict[str, Any]:
        return dict(describe(StackOptions(**options)).process("trial_runner").parameters)

    assert told()["judge"] == "truth"
    assert told(judge="camera")["home_service"] == "robot_twin/home"
    lab = told(robot="panda", trials=3, seeds="1,2", colours="c.json")
    assert (lab["judge"], lab["place"], lab["seeds"]) == ("camera", True, "1,2")
    assert lab["home_service"] == "arm_motion/home"
    assert Path(lab["colours"]).is_absolute()
    with pytest.raises(StackError, match="the lab has none: use judge:=camera"):
        describe(StackOptions(robot="panda", judge="truth"))


@pytest.mark.parametrize("seeds", ["1,x", "1,1", "1, 1", "01,1", "-1", "1,,2", "1.5"])
def test_seeds_are_refused_before_anything_starts(seeds: str) -> None:
    with pytest.raises(StackError, match="different whole numbers"):
        describe(StackOptions(seeds=seeds))


def test_to_go_on_one_says_with_what() -> None:
    with pytest.raises(StackError, match="resume:=true needs output:=<folder"):
        describe(StackOptions(resume=True))
    assert describe(StackOptions(resume=True, output="bags/monday")).options.resume


@pytest.mark.parametrize("given", [{"seeds": "1,2"}, {"compare_with": "b"}, {"resume": True}])
def test_what_is_about_trials_is_refused_without_trials(given: dict[str, Any]) -> None:
    lab = {"robot": "fr3", "output": "bags/monday", **given}
    with pytest.raises(StackError, match="add trials:=<how many>"):
        describe(StackOptions(**lab))
    assert describe(StackOptions(**lab, trials=4)).process("trial_runner")


@pytest.mark.parametrize(("camera", "bag"), [("mock", ""), ("bag", "bags/monday/trial_000")])
def test_a_real_arm_is_not_moved_by_pictures_of_something_else(camera: str, bag: str) -> None:
    options = StackOptions(robot="fr3", camera=camera, bag=bag)
    with pytest.raises(StackError, match=f"camera:={camera} does not show what the fr3 does"):
        describe(options)
    assert describe(dataclasses.replace(options, dry_run=True)).processes
    assert describe(dataclasses.replace(options, robot="sim")).processes


@pytest.mark.parametrize(("mode", "timeout"), [("pose", 0.1), ("twist", 0.06)])
def test_the_servo_stand_in_has_the_labs_parameters(mode: str, timeout: float) -> None:
    twin = describe(StackOptions(command_mode=mode)).process("servo_node")
    values = twin.parameter_tree()["moveit_servo"]
    assert values["incoming_command_timeout"] == timeout
    lab = load_yaml(config_folder() / "servo_common.yaml")["moveit_servo"]
    assert values["scale"] == {name: lab["scale"][name] for name in ("linear", "rotational")}


def test_trials_are_told_under_which_conditions_they_are_run() -> None:
    runner = describe(StackOptions(speed=0.25)).process("trial_runner")
    told = dict(runner.parameters)["conditions"]
    assert str(told).startswith("robot=sim camera=sim servo=embedded command_mode=pose speed=0.25 ")


def test_no_trial_is_long_enough_for_the_recorder_to_give_up(tmp_path: Path) -> None:
    def longest(**options: Any) -> float:
        parameters = describe(StackOptions(**options)).process("recorder").parameters
        return float(dict(parameters)["maximum_duration"])  # type: ignore[arg-type]

    assert longest() == 3600.0
    assert longest(speed=0.1, episode_steps=400) == pytest.approx(40_000.0)
    assert longest(speed=0.01) == 86_400.0  # a day, the parameter's largest value


def test_a_slow_run_and_a_dry_run_are_the_policy_nodes_business() -> None:
    slow = dict(describe(StackOptions(speed=0.1)).process("twist_policy_node").parameters)
    assert (slow["speed"], slow["dry_run"]) == (0.1, False)
    runner = dict(describe(StackOptions(speed=0.1)).process("trial_runner").parameters)
    assert runner["step_timeout"] == pytest.approx(20.0)  # a step takes ten times as long
    dry = describe(StackOptions(robot="fr3", dry_run=True))
    assert dict(dry.process("twist_policy_node").parameters)["dry_run"] is True
    assert "servo_node" not in [process.name for process in dry.processes]
    assert "moveit_servo" not in [package for package, _ in dry.packages]
    with pytest.raises(StackError, match="moves nothing"):
        describe(StackOptions(dry_run=True, trials=3))


def test_the_output_folder_is_named_after_task_and_time() -> None:
    chosen = complete(StackOptions(), datetime(2026, 1, 2, 3, 4, 5))
    assert chosen.output == str(Path.cwd() / "bags" / "block_push-20260102-030405")
    assert Path(chosen.checkpoint).is_absolute()


@pytest.mark.parametrize("robot", CHOICES["robot"])
def test_every_robot_has_a_profile_whose_servo_file_moves_its_arm(robot: str) -> None:
    profile = load_robot_profile(robot)
    stack = describe(StackOptions(robot=robot, servo="moveit", trials=0))
    servo = stack.process("servo_node")
    assert servo.moveit is not None
    assert servo.moveit.urdf == profile.urdf
    tree = dataclasses.replace(servo, moveit=None).parameter_tree()
    assert tree["planning_group_name"] == tree["moveit_servo"]["move_group_name"]
    assert tree["planning_group_name"] == profile.move_group
    assert servo.respawn


def test_the_fr3_profile_remaps_to_its_drivers_topics() -> None:
    stack = describe(StackOptions(robot="fr3"))
    state = "/franka_robot_state_broadcaster/robot_state"
    assert ("driver_state", state) in stack.process("robot_state").remappings
    assert dict(stack.process("servo_node").parameters)["moveit_servo.command_out_topic"] == (
        "/fr3_arm_controller/joint_trajectory"
    )


def test_an_unknown_profile_names_the_known_ones() -> None:
    with pytest.raises(ProfileError, match="known: fr3, panda, sim"):
        load_robot_profile("ur5")


@pytest.mark.parametrize("content", ["- 1", "description: x", "{", "description: 1\n"])
def test_a_malformed_profile_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "robots").mkdir()
    (tmp_path / "robots" / "odd.yaml").write_text(content)
    monkeypatch.setattr("twist_bringup.robot_profile.config_folder", lambda: tmp_path)
    with pytest.raises(ProfileError, match=r"odd\.yaml"):
        load_robot_profile("odd")


def test_dotted_parameters_become_a_tree_and_win_over_the_file() -> None:
    process = Process(
        name="s",
        package="p",
        executable="e",
        parameter_file="servo_common.yaml",
        parameter_overlays=("servo_fr3.yaml", "servo_twist.yaml"),
        parameters=(("moveit_servo.publish_period", 0.02), ("names", ("a", "b"))),
    )
    tree = process.parameter_tree()
    assert tree["moveit_servo"]["publish_period"] == 0.02
    assert tree["moveit_servo"]["scale"]["linear"] > 0
    assert tree["moveit_servo"]["move_group_name"] == "fr3_arm"
    assert tree["moveit_servo"]["pose_tracking"]["linear_tolerance"] > 0
    assert tree["names"] == ["a", "b"]


def test_a_process_is_not_both_required_and_respawned() -> None:
    with pytest.raises(StackError, match="not both"):
        Process(name="x", package="p", executable="e", required=True, respawn=True)


def test_the_configuration_is_found_beside_the_source_or_installed() -> None:
    assert (config_folder() / "robots" / "sim.yaml").is_file()
