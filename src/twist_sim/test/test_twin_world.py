import numpy as np
import pytest

from twist_sim.kinematics import DifferentialIk
from twist_sim.layout import draw_dynamics, draw_layout
from twist_sim.ros.panda_arm import VELOCITY_LIMITS, PandaArm
from twist_sim.ros.twin_world import TwinWorld
from twist_sim.task_card import load_task_card


@pytest.fixture(scope="module")
def card():
    return load_task_card("block_push")


@pytest.fixture
def world(card):
    return TwinWorld(card)


def test_a_reset_puts_the_arm_home_and_the_objects_where_the_trial_starts(card, world):
    world.go_to(world.joint_positions + 0.2)
    world.advance(100)
    layout = world.reset(seed=5, trial=7)
    assert layout == draw_layout(card, 5, 7)
    truth = world.truth()
    np.testing.assert_allclose(truth.object_position, layout.object_position, atol=1e-9)
    np.testing.assert_allclose(truth.goal_position[:2], layout.goal_position[:2], atol=1e-9)
    np.testing.assert_allclose(truth.tool_position, card.home.tool_position, atol=1e-4)
    assert not truth.success
    assert world._scene.dynamics == draw_dynamics(card, 5, 7)
    assert not world.joint_velocities.any()


def test_the_same_trial_and_commands_end_in_the_same_state(card):
    ends = []
    for _ in range(2):
        world = TwinWorld(card)
        world.reset(seed=1, trial=2)
        world.go_to(world.joint_positions + np.array([0.1, 0.05, 0, 0, 0, 0, 0]))
        world.advance(150)
        ends.append(world.render_state)
    np.testing.assert_array_equal(*ends)


def test_a_jump_in_the_command_is_followed_no_faster_than_the_joints_may_turn(world):
    home = world.joint_positions
    world.go_to(home + np.array([1.0, 0, 0, 0, 0, 0, 0]))
    for _ in range(100):
        world.advance(1)
        assert (np.abs(world.joint_velocities) <= np.array(VELOCITY_LIMITS) * 1.05).all()
    assert world.joint_positions[0] - home[0] < VELOCITY_LIMITS[0] * 0.5


def test_the_arm_feels_what_it_pushes_against_and_nothing_in_the_air(card, world):
    ik = DifferentialIk.from_card(card)
    cube = np.array(world.truth().object_position)
    assert np.linalg.norm(world.contact_force) == 0.0
    joints = world.joint_positions
    along, up = np.array([1.0, 0, 0]), np.array([0, 0, 1.0])
    behind = cube - 0.07 * along
    for tip in (behind + 0.1 * up, behind, cube + 0.05 * along):
        joints = ik.solve_exactly(joints, tip, card.home.tool_orientation)
        world.go_to(joints)
        forces = []
        for _ in range(60):
            world.advance(5)
            forces.append(world.contact_force)
    assert world.truth().object_position[0] > cube[0] + 0.03, "the cube was pushed along x"
    push = max(forces, key=np.linalg.norm)
    assert push[0] < -0.3, "and pushed back"
    assert abs(push[1]) < 0.5 * abs(push[0])


def test_holding_stops_the_arm_on_its_way(world):
    world.go_to(world.joint_positions + np.array([1.0, 0, 0, 0, 0, 0, 0]))
    world.advance(20)
    world.hold()
    world.advance(200)
    rest = world.joint_positions
    world.advance(200)
    np.testing.assert_allclose(world.joint_positions, rest, atol=1e-3)
    assert rest[0] < 0.3


def test_without_commands_the_arm_does_not_sag(world):
    home = world.tool_position
    world.advance(2000)
    assert np.linalg.norm(world.tool_position - home) < 1e-3


def test_the_flange_pose_and_the_tool_offset_give_the_tool_position(card, world):
    world.go_to(world.joint_positions + 0.1)
    world.advance(60)
    position, (w, x, y, z) = world.flange_pose
    from twist_sim.ros.cartesian import rotation_from_quaternion

    tip = position + rotation_from_quaternion(x, y, z, w) @ np.array(card.tool.offset)
    np.testing.assert_allclose(tip, world.tool_position, atol=1e-6)


def test_servo_and_twin_agree_on_where_the_ik_tip_is(card, world):
    world.go_to(world.joint_positions + 0.1)
    world.advance(60)
    position, rotation = PandaArm(card).tip_pose(world.joint_positions)
    np.testing.assert_allclose(position, world.flange_pose[0], atol=1e-6)
    assert rotation.shape == (3, 3)
