"""The inverse kinematics reach every commanded tip position with the orientation held."""

import numpy as np
import pytest

from twist_sim.kinematics import DifferentialIk, KinematicsError
from twist_sim.panda import RobotDataError, panda_chain, robot_data_folder
from twist_sim.scene import PandaScene
from twist_sim.task_card import load_task_card

CARD = load_task_card("block_push")
ORIENTATION = CARD.home.tool_orientation


@pytest.fixture(scope="module")
def ik():
    return DifferentialIk.from_card(CARD)


@pytest.fixture(scope="module")
def home(ik):
    return ik.solve_exactly(CARD.home.joints, CARD.home.tool_position, ORIENTATION)


def _angle(first, second):
    return 2 * np.arccos(np.clip(abs(np.dot(first, second)), 0, 1))


def test_forward_kinematics_agree_with_the_published_panda(ik):
    # Flange pose at the robot's usual ready configuration, from the Denavit-Hartenberg table of
    # Franka's documentation: x = 0.3069 m, z = 0.5903 m, pointing down.
    flange = DifferentialIk.from_card(CARD, tip_offset=(0.0, 0.0, 0.0))
    ready = (0, -np.pi / 4, 0, -3 * np.pi / 4, 0, np.pi / 2, np.pi / 4)
    position, quaternion = flange.forward(ready)
    np.testing.assert_allclose(position, (0.3069, 0.0, 0.5903), atol=1e-3)
    assert _angle(quaternion, (0, np.cos(np.pi / 8), -np.sin(np.pi / 8), 0)) < 1e-3
    tip, _ = ik.forward(ready)
    np.testing.assert_allclose(tip, position - (0, 0, CARD.tool.offset[2]), atol=1e-6)


def test_scene_and_inverse_kinematics_share_one_arm(ik, home):
    scene = PandaScene(CARD)
    np.testing.assert_allclose(scene.tool_position, ik.forward(home)[0], atol=1e-9)
    np.testing.assert_allclose(scene.tool_position, CARD.home.tool_position, atol=2e-5)


def test_every_corner_of_the_workspace_is_reached_in_policy_steps_with_orientation_held(ik, home):
    lower, upper = np.array(CARD.workspace.lower), np.array(CARD.workspace.upper)
    for corner in range(8):
        goal = np.where([corner & 1, corner & 2, corner & 4], upper, lower)
        joints, target = home, np.array(CARD.home.tool_position)
        while np.linalg.norm(goal - target) > 1e-9:
            delta = goal - target
            target = target + delta * min(1.0, CARD.action.bound / np.linalg.norm(delta))
            joints = ik.solve(joints, target, ORIENTATION)
            position, quaternion = ik.forward(joints)
            # Well below the few millimetres that the arm's controller lags anyway.
            assert np.linalg.norm(position - target) < 2e-3
            assert _angle(quaternion, ORIENTATION) < 0.02
        assert np.all(joints > ik.lower)
        assert np.all(joints < ik.upper)


def test_the_null_space_is_pulled_home_after_a_tour(ik, home):
    joints = home + np.array([0.3, 0.0, -0.3, 0.0, 0.0, 0.0, 0.0])
    for _ in range(100):
        joints = ik.solve(joints, CARD.home.tool_position, ORIENTATION)
    np.testing.assert_allclose(joints, home, atol=2e-3)


def test_results_stay_within_joint_limits_when_the_target_is_out_of_reach(ik, home):
    joints = home
    for _ in range(50):
        joints = ik.solve(joints, (3.0, 0.0, 2.0), ORIENTATION)
        assert np.all(np.isfinite(joints))
        assert np.all((joints >= ik.lower) & (joints <= ik.upper))


def test_the_jacobian_is_the_derivative_of_forward_kinematics(ik, home):
    jacobian, step = ik.jacobian(home), 1e-6
    for joint in range(7):
        moved = home.copy()
        moved[joint] += step
        slope = (ik.forward(moved)[0] - ik.forward(home)[0]) / step
        np.testing.assert_allclose(slope, jacobian[:3, joint], atol=1e-5)


def test_an_unreachable_pose_and_bad_numbers_are_refused(ik, home):
    with pytest.raises(
        KinematicsError, match=r"no joint positions found .* within the arm's reach"
    ):
        ik.solve_exactly(home, (2.0, 0.0, 0.5), ORIENTATION)
    with pytest.raises(KinematicsError, match="tip position: expected 3 finite numbers"):
        ik.solve(home, (np.nan, 0.0, 0.1), ORIENTATION)
    with pytest.raises(KinematicsError, match="joint positions: expected 7 finite numbers"):
        ik.solve(home[:6], (0.5, 0.0, 0.1), ORIENTATION)


def test_a_missing_robot_package_is_named_with_its_cure(monkeypatch):
    from importlib import metadata

    def missing(_):
        raise metadata.PackageNotFoundError

    for cached in (robot_data_folder, panda_chain):
        cached.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(metadata, "files", missing)
        with pytest.raises(RobotDataError, match="pip install example-robot-data"):
            PandaScene(CARD)
    assert robot_data_folder().is_dir()
