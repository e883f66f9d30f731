"""Our parameter files for MoveIt Servo against its own definitions, and against our tasks."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import servo_parameter_table as known

from twist_bringup.options import StackOptions
from twist_bringup.robot_profile import config_folder, load_robot_profile, load_yaml
from twist_bringup.stack import describe

ROBOTS = ("sim", "panda", "fr3")
MODES = ("pose", "twist")
LOWER_LIMIT_OF_JOINT_4 = {"panda": -3.0718, "fr3": -3.0421}
"""Radians, from Franka's specifications."""


def tree_of(robot: str, mode: str) -> dict[str, Any]:
    """What the Servo node is given, without the robot's description."""
    stack = describe(StackOptions(robot=robot, servo="moveit", command_mode=mode, trials=0))
    return dataclasses.replace(stack.process("servo_node"), moveit=None).parameter_tree()


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        values |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return values


@pytest.mark.parametrize(("robot", "mode"), list(itertools.product(ROBOTS, MODES)))
def test_servo_gets_every_parameter_it_has_in_the_type_and_range_it_takes(
    robot: str, mode: str
) -> None:
    tree = tree_of(robot, mode)
    servo = flat(tree.pop("moveit_servo"))
    for table, given in (
        (known.SERVO, servo),
        (known.SMOOTHING, tree),
    ):
        assert given.keys() == table.keys()
        for name, (kind, allowed) in table.items():
            assert type(given[name]) is kind, name
            assert allowed(given[name]), name
    joints = load_robot_profile(robot).joints
    assert known.problems_together(servo, len(joints)) == []


@pytest.mark.parametrize(("robot", "mode"), list(itertools.product(ROBOTS, MODES)))
def test_servo_can_follow_what_the_policy_node_sends(robot: str, mode: str) -> None:
    tree = tree_of(robot, mode)
    servo = flat(tree["moveit_servo"])
    assert tree["update_period"] == servo["publish_period"]
    assert servo["incoming_command_timeout"] >= 2.5 / 50  # the policy node re-stamps at 50 Hz
    assert servo["scale.linear"] >= 0.2  # 2 cm within 0.1 s
    assert servo["command_in_type"] == "speed_units"
    assert servo["use_smoothing"]
    if mode == "twist":  # what the arm goes on when commands stop; the leash is 5 cm
        assert 0.2 * servo["incoming_command_timeout"] <= 0.02


@pytest.mark.parametrize("robot", ROBOTS)
def test_every_joint_has_the_limits_that_the_smoothing_plugin_needs(robot: str) -> None:
    profile = load_robot_profile(robot)
    limits = load_yaml(config_folder() / profile.joint_limits)["joint_limits"]
    assert list(limits) == list(profile.joints)
    for limit in limits.values():
        assert limit["has_velocity_limits"] is limit["has_acceleration_limits"] is True
        assert isinstance(limit["max_velocity"], float)
        # From Servo's full speed the arm must stand within millimetres: the plugin does not brake
        # ahead of a pose target.
        assert 0.5**2 / (2 * limit["max_acceleration"]) < 0.02
        assert limit["max_velocity"] > 0


def test_no_joint_limit_margin_halts_the_arm_inside_a_tasks_workspace() -> None:
    from twist_sim.kinematics import DifferentialIk
    from twist_sim.task_card import load_task_card

    card = load_task_card("block_push")  # the workspace that reaches closest to the base
    ik = DifferentialIk.from_card(card)
    home = np.array(card.home.joints)
    lower, upper = np.array(card.workspace.lower), np.array(card.workspace.upper)
    near_edge = [np.array([lower[0], y, lower[2]]) for y in np.linspace(lower[1], upper[1], 5)]
    corners = [np.array(corner) for corner in itertools.product(*zip(lower, upper, strict=True))]
    found = np.array(
        [ik.solve_exactly(home, tip, card.home.tool_orientation) for tip in [*near_edge, *corners]]
    )
    slack = np.minimum(found - ik.lower, ik.upper - found).min(axis=0)
    for arm, limit in LOWER_LIMIT_OF_JOINT_4.items():
        margins = np.array(tree_of(arm, "pose")["moveit_servo"]["joint_limit_margins"])
        slack[3] = found[:, 3].min() - limit
        assert (slack - margins > 0.03).all(), (arm, slack.round(3))


@pytest.mark.parametrize("robot", ["panda", "fr3"])
def test_what_the_profile_says_of_the_arm_agrees_with_itself(robot: str) -> None:
    profile = load_robot_profile(robot)
    assert profile.base_frame == f"{robot}_link0"
    assert profile.tip_frame == f"{robot}_link8"
    assert profile.joint_trajectory == f"/{profile.trajectory_controller}/joint_trajectory"
    assert profile.recovery is not None
    assert profile.recovery.steps[-1] == "activate_controllers"


def test_every_servo_file_is_used_by_a_profile_or_a_mode() -> None:
    used = {f"servo_{mode}.yaml" for mode in MODES} | {"servo_common.yaml"}
    used |= {load_robot_profile(robot).servo_parameters for robot in ROBOTS}
    assert used == {path.name for path in Path(config_folder()).glob("servo_*.yaml")}
