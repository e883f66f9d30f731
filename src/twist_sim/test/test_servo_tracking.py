"""Servo's logic and the twin's physics together, in simulated time: does the arm go there?"""

import itertools

import numpy as np
import pytest

from twist_policy.action_gate import ActionGate
from twist_sim.layout import Layout
from twist_sim.ros.cartesian import rotation_error, rotation_from_quaternion
from twist_sim.ros.panda_arm import PandaArm
from twist_sim.ros.servo_interface import CommandType, PoseCommand, StatusCode
from twist_sim.ros.servo_logic import ServoConfig, ServoLogic
from twist_sim.ros.twin_world import TwinWorld
from twist_sim.scene import PandaScene
from twist_sim.scripted import ScriptedPusher
from twist_sim.task_card import load_task_card

TICKS = 10  # of Servo (0.01 s) per control period (0.1 s)
ASIDE = Layout((0.8, 0.5, 0.02), 0.0, (0.8, -0.5, 0.0))


@pytest.fixture(scope="module")
def card():
    return load_task_card("block_push")


class Cell:
    """The twin under Servo's control, with tool-tip targets as the policy node gives them."""

    def __init__(self, card):
        self.card = card
        self.world = TwinWorld(card)
        self.world._scene.reset(ASIDE)
        self.arm = PandaArm(card)
        self.servo = ServoLogic(ServoConfig(), self.arm, self.arm.limits, self.arm.posture)
        self.servo.switch_command_type(CommandType.POSE)
        w, x, y, z = card.home.tool_orientation
        self.rotation = rotation_from_quaternion(x, y, z, w)
        self.offset = self.rotation @ np.array(card.tool.offset)
        self.now = 1000.0
        self.statuses = set()

    def follow(self, target, ticks=TICKS):
        for tick in range(ticks):
            self.servo.update_joint_state(self.world.joint_positions)
            if tick % 2 == 0:
                self.servo.accept(
                    self.card.base_frame,
                    PoseCommand(self.now, target - self.offset, self.rotation),
                )
            result = self.servo.tick(self.now)
            self.statuses.add(result.status)
            self.world.go_to(result.positions)
            self.world.advance(2)
            self.now += 0.01


def smooth_actions(seed, count, correlation):
    """Actions of norm at most 1 whose direction changes slowly (or, with 0, at every step)."""
    rng = np.random.default_rng(seed)
    state, actions = rng.normal(size=3), []
    for _ in range(count):
        state = correlation * state + np.sqrt(1 - correlation**2) * rng.normal(size=3)
        actions.append(state / max(1.0, float(np.linalg.norm(state))))
    return actions


def run_environment(card, actions):
    scene, gate = PandaScene(card), ActionGate.from_contract(card.contract(False))
    scene.reset(ASIDE)
    gate.reset(scene.tool_position)
    track, errors = [], []
    for action in actions:
        target = gate.step(action, scene.tool_position).target
        scene.apply_target(target)
        track.append(scene.tool_position)
        errors.append(np.linalg.norm(target - scene.tool_position))
    return np.array(track), np.array(errors)


def run_cell(card, actions):
    cell, gate = Cell(card), ActionGate.from_contract(card.contract(False))
    gate.reset(cell.world.tool_position)
    track, errors = [], []
    for action in actions:
        target = gate.step(action, cell.world.tool_position).target
        cell.follow(target)
        track.append(cell.world.tool_position)
        errors.append(np.linalg.norm(target - cell.world.tool_position))
    return np.array(track), np.array(errors)


@pytest.mark.parametrize(("seed", "correlation"), [(1, 0.0), (1, 0.8), (2, 0.95)])
def test_the_arm_follows_the_policy_as_it_does_in_the_training_environment(card, seed, correlation):
    # A policy meets the dynamics it was trained with: the same lag, within 1.5 mm on average,
    # and nearly the same path (the arm moves about 10 mm per control period).
    actions = smooth_actions(seed, 100, correlation)
    expected_track, expected_errors = run_environment(card, actions)
    track, errors = run_cell(card, actions)
    assert abs(errors.mean() - expected_errors.mean()) < 0.0015
    assert np.linalg.norm(track - expected_track, axis=1).mean() < 0.0025


def test_every_corner_of_the_workspace_is_reached_with_the_tool_upright(card):
    cell = Cell(card)
    lower, upper = card.workspace.lower, card.workspace.upper
    # Along the middle as well: there the elbow is bent most.
    corners = itertools.product(
        (lower[0], upper[0]), (lower[1], 0.0, upper[1]), (lower[2], upper[2])
    )
    for corner in corners:
        goal = np.array(corner)
        while np.linalg.norm(goal - cell.world.tool_position) > 0.03:
            here = cell.world.tool_position
            step = goal - here
            cell.follow(here + step * min(1.0, 0.035 / np.linalg.norm(step)))
            assert cell.now < 1200, f"{corner} is not reached"
        cell.follow(goal, 100)
        assert np.linalg.norm(goal - cell.world.tool_position) < 0.002, corner
        _, rotation = cell.arm.tip_pose(cell.world.joint_positions)
        assert np.linalg.norm(rotation_error(cell.rotation, rotation)) < 0.02, corner
    assert cell.statuses == {StatusCode.NO_WARNING}


def test_a_target_out_of_reach_halts_the_arm_and_the_way_back_stays_open(card):
    cell = Cell(card)
    home = cell.world.tool_position
    for _ in range(60):
        here = cell.world.tool_position
        cell.follow(here + np.array([0.03, 0.0, 0.0]))
    assert cell.statuses - {StatusCode.NO_WARNING}, "stretching the arm out was never reported"
    for _ in range(150):
        here = cell.world.tool_position
        step = home - here
        cell.follow(here + step * min(1.0, 0.03 / max(1e-9, float(np.linalg.norm(step)))))
    assert np.linalg.norm(cell.world.tool_position - home) < 0.005


def test_block_push_is_solved_through_servo_with_40_ms_of_latency(card):
    pusher, rules = ScriptedPusher(card), card.task_rules
    for trial in range(4):
        cell, gate = Cell(card), ActionGate.from_contract(card.contract(False))
        cell.world.reset(100, trial)
        gate.reset(cell.world.tool_position)
        previous = cell.world.tool_position
        for _ in range(card.episode_steps):
            state = rules.privileged_state(cell.world._scene)
            target = gate.step(pusher.act(state), cell.world.tool_position).target
            cell.follow(previous, 4)
            cell.follow(target, TICKS - 4)
            previous = target
        assert cell.world.truth().success, f"trial {trial} ended at {cell.world.truth().distance}"
