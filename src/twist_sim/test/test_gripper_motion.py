"""What the twin's gripper does with Franka's commands: on ideal fingers and on simulated ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from twist_sim.ros.gripper_motion import (
    FingerCommand,
    GripperMotion,
    GripperRefusal,
    Outcome,
)
from twist_sim.ros.twin_world import TwinWorld
from twist_sim.task_card import HAND_WIDTH, load_task_card

TICK = 0.01
LATENCY = 0.2


class IdealFingers:
    """Go at the commanded speed after a latency, and stop at what lies between them."""

    def __init__(self, width: float, obstacle: float = 0.0, jammed: bool = False) -> None:
        self.width = width
        self.obstacle = obstacle
        self.jammed = jammed

    def run(self, motion: GripperMotion) -> tuple[Outcome, float]:
        """Executes a motion; returns its outcome and how long it took, seconds."""
        command: FingerCommand | None = None
        since = 0.0
        for tick in range(2000):
            now = tick * TICK
            step = motion.advance(self.width, now)
            if isinstance(step, Outcome):
                return step, now
            if isinstance(step, FingerCommand):
                command, since = step, now
            assert command is not None, "a motion begins with a command"
            if now - since > LATENCY and not self.jammed:
                stride = command.speed * TICK
                change = min(max(command.width - self.width, -stride), stride)
                self.width = max(self.width + change, self.obstacle)
        raise AssertionError("the motion never ended")


def test_a_move_ends_where_it_was_told_after_about_the_time_it_takes() -> None:
    fingers = IdealFingers(0.0)
    outcome, seconds = fingers.run(GripperMotion.move(0.08, speed=0.1))
    assert outcome == Outcome(True)
    assert fingers.width == pytest.approx(0.08)
    assert 1.0 <= seconds <= 1.3  # latency, 0.8 s of motion, and 0.1 s to see that it is over


def test_a_move_to_where_the_fingers_are_succeeds() -> None:
    outcome, seconds = IdealFingers(0.08).run(GripperMotion.move(0.08, speed=0.1))
    assert outcome.success
    assert seconds < 1.0


def test_a_jammed_gripper_does_not_succeed() -> None:
    outcome, _ = IdealFingers(0.02, jammed=True).run(GripperMotion.move(0.08, speed=0.1))
    assert outcome == Outcome(False)


@pytest.mark.parametrize(
    ("obstacle", "success"),
    [(0.0, False), (0.024, False), (0.026, True), (0.04, True), (0.059, True), (0.061, False)],
)
def test_a_grasp_succeeds_within_its_tolerances(obstacle: float, success: bool) -> None:
    motion = GripperMotion.grasp(0.04, speed=0.1, force=20.0, inner=0.015, outer=0.02)
    outcome, _ = IdealFingers(0.08, obstacle).run(motion)
    assert outcome == Outcome(success)  # a grasp of nothing is no error


def test_homing_closes_and_opens_wide() -> None:
    fingers = IdealFingers(0.05)
    outcome, seconds = fingers.run(GripperMotion.homing())
    assert outcome.success
    assert fingers.width == pytest.approx(HAND_WIDTH)
    assert seconds > 2.6  # 5 cm and 8 cm at 5 cm/s


@pytest.mark.parametrize(
    "make",
    [
        lambda: GripperMotion.move(0.09, 0.1),
        lambda: GripperMotion.move(math.nan, 0.1),
        lambda: GripperMotion.move(0.05, 0.0),
        lambda: GripperMotion.grasp(0.04, 0.1, -1.0, 0.01, 0.01),
        lambda: GripperMotion.grasp(0.04, 0.1, 20.0, -0.01, 0.01),
        lambda: GripperMotion.grasp(0.04, 0.1, 20.0, math.nan, 0.01),
    ],
)
def test_impossible_numbers_are_refused(make: object) -> None:
    with pytest.raises(GripperRefusal, match="found"):
        make()  # type: ignore[operator]


@pytest.fixture(scope="module")
def world() -> TwinWorld:
    return TwinWorld(load_task_card("block_lift"))


def execute(world: TwinWorld, motion: GripperMotion) -> tuple[Outcome, float]:
    for tick in range(600):
        step = motion.advance(world.finger_width, tick * TICK)
        if isinstance(step, Outcome):
            return step, tick * TICK
        if isinstance(step, FingerCommand):
            world.drive_fingers(step)
        world.advance(round(TICK / world.timestep))
    raise AssertionError("the motion never ended")


def test_the_simulated_fingers_grasp_the_cube_and_let_it_go(world: TwinWorld) -> None:
    gripper = world.card.tool.hand.gripper
    world.reset(seed=0, trial=0)
    truth = world.truth()
    assert truth.finger_width == pytest.approx(gripper.open_width, abs=1e-3)
    world._scene.place_tool(truth.object_position)
    world._setpoint = world._target = world._scene.joint_targets
    grasp = GripperMotion.grasp(
        gripper.grasp_width,
        gripper.speed,
        gripper.force,
        gripper.epsilon_inner,
        gripper.epsilon_outer,
    )
    outcome, seconds = execute(world, grasp)
    assert outcome.success
    assert 0.4 < seconds <= gripper.command_time
    assert world.truth().grasped
    assert world.finger_width == pytest.approx(world.card.object.size, abs=0.004)
    outcome, _ = execute(world, GripperMotion.move(gripper.open_width, gripper.speed))
    assert outcome.success
    assert not world.truth().grasped


def test_the_simulated_fingers_grasp_nothing_and_say_so(world: TwinWorld) -> None:
    world.reset(seed=0, trial=0)  # home, above the table
    gripper = world.card.tool.hand.gripper
    grasp = GripperMotion.grasp(gripper.grasp_width, gripper.speed, gripper.force, 0.015, 0.02)
    outcome, _ = execute(world, grasp)
    assert outcome == Outcome(False)
    assert not world.truth().grasped


def test_the_arm_goes_home_with_its_fingers_as_they_are(world: TwinWorld) -> None:
    world.reset(seed=0, trial=0)
    execute(world, GripperMotion.move(0.06, 0.1))
    objects = world.truth().object_position
    world.go_home()
    world.advance(400)
    assert world.finger_width == pytest.approx(0.06, abs=0.002)
    np.testing.assert_allclose(world.truth().object_position, objects, atol=1e-4)


def test_a_peg_takes_no_finger_commands_and_knows_no_width() -> None:
    world = TwinWorld(load_task_card("block_push"))
    assert math.isnan(world.truth().finger_width)
    assert not world.truth().grasped
    with pytest.raises(ValueError, match="takes no commands"):
        world.drive_fingers(FingerCommand(0.04, 0.1))
