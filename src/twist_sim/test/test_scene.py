"""The simulated world: what touches what, how the arm follows, and that states can be kept."""

import mujoco
import numpy as np
import pytest

from twist_sim.layout import Layout, ObjectDynamics, draw_layout
from twist_sim.scene import SIM_STATE_SIZE, PandaScene, build_spec
from twist_sim.task_card import load_task_card

CARD = load_task_card("block_push")
LAYOUT = Layout((0.5, 0.0, 0.02), 0.3, (0.45, 0.12, 0.0))


@pytest.fixture
def scene():
    scene = PandaScene(CARD)
    scene.reset(LAYOUT)
    return scene


def _drive(scene, *waypoints):
    """Moves the tool through waypoints by bounded steps, as a policy would."""
    target = scene.tool_position
    for waypoint in waypoints:
        for _ in range(60):
            delta = np.asarray(waypoint) - target
            norm = float(np.linalg.norm(delta))
            target = target + delta * min(1.0, CARD.action.bound / max(norm, 1e-9))
            scene.apply_target(target)
            if norm < 1e-6:
                break


def test_the_parts_that_others_look_up_by_name_exist():
    model = build_spec(CARD).compile()
    for name in ("floor", "table", "goal", "cube", "peg", "robot_mount"):
        assert model.geom(name).name == name
    links = [name for i in range(model.ngeom) if (name := model.geom(i).name)[:10] == "robot_link"]
    assert links == [f"robot_link{index}" for index in range(8)]
    assert model.camera("workspace").id == 0
    assert model.light("key_light").id == 0


def test_reset_puts_everything_where_the_layout_says(scene):
    np.testing.assert_allclose(scene.tool_position, CARD.home.tool_position, atol=2e-5)
    np.testing.assert_allclose(scene.object_position, LAYOUT.object_position)
    np.testing.assert_allclose(scene.goal_position, LAYOUT.goal_position)
    w, x, y, z = scene.object_quaternion
    assert 2 * np.arctan2(z, w) == pytest.approx(0.3)
    assert (x, y) == (0.0, 0.0)


def test_the_cube_rests_on_the_table_and_the_arm_stays_home_when_nothing_is_commanded(scene):
    for _ in range(20):
        scene.apply_target(CARD.home.tool_position)
    np.testing.assert_allclose(scene.object_position, LAYOUT.object_position, atol=2e-4)
    np.testing.assert_allclose(scene.tool_position, CARD.home.tool_position, atol=1e-3)


def test_only_peg_cube_and_table_ever_touch(scene):
    allowed = {"table_surface", "cube", "peg"}
    _drive(scene, (0.42, 0.0, 0.02))
    touched = set()
    for step in range(12):
        scene.apply_target((0.44 + 0.015 * step, 0.0, 0.015))
        for contact in scene.data.contact:
            touched |= {scene.model.geom(contact.geom1).name, scene.model.geom(contact.geom2).name}
    assert touched == allowed


def test_the_arm_follows_a_policy_that_moves_at_full_speed(scene):
    scene.place(Layout((0.6, 0.16, 0.02), 0.0, LAYOUT.goal_position))
    lags, target = [], scene.tool_position
    for _ in range(8):
        target = target - np.array([0.0, CARD.action.bound, 0.0])
        scene.apply_target(target)
        lags.append(np.linalg.norm(target - scene.tool_position))
    assert max(lags) < CARD.action.leash / 2  # far from the leash, which would cut actions
    for _ in range(5):
        scene.apply_target(target)
    assert np.linalg.norm(target - scene.tool_position) < 2e-3


def test_pushing_moves_the_cube_ahead_of_the_peg(scene):
    _drive(scene, (0.43, 0.0, 0.09), (0.43, 0.0, 0.02), (0.53, 0.0, 0.02))
    # They are apart by the peg's radius plus half an edge to half a diagonal: no tunnelling.
    gap = np.linalg.norm((scene.object_position - scene.tool_position)[:2])
    assert 0.031 < gap < 0.042
    assert scene.object_position[0] > LAYOUT.object_position[0] + 0.03
    assert abs(scene.object_position[2] - 0.02) < 2e-3


@pytest.mark.parametrize("mass", CARD.object.mass)
@pytest.mark.parametrize("friction", CARD.object.friction)
def test_the_simulation_stays_finite_when_the_cube_is_pressed_and_dragged(scene, mass, friction):
    scene.reset(LAYOUT, ObjectDynamics(mass, friction))
    _drive(scene, (0.5, 0.0, 0.09), (0.5, 0.0, 0.025))
    _drive(scene, (0.45, 0.05, 0.025), (0.4, -0.1, 0.012), (0.6, 0.1, 0.012))
    assert np.isfinite(scene.get_state()).all()
    assert np.abs(scene.data.qvel).max() < 20.0
    assert 0.0 < scene.object_position[2] < 0.06
    assert np.abs(scene.object_position[:2] - (0.5, 0.0)).max() < 0.4


def test_the_cubes_inertia_is_consistent_after_a_change_of_mass(scene):
    # Solver and integrator read the mass from different places; they must not disagree.
    scene.reset(LAYOUT, ObjectDynamics(0.05, 0.5))
    mujoco.mj_forward(scene.model, scene.data)
    inertia = np.zeros((scene.model.nv, scene.model.nv))
    mujoco.mj_fullM(scene.model, scene.data, inertia)
    np.testing.assert_allclose(np.diag(inertia)[7:10], 0.05)
    np.testing.assert_allclose(np.diag(inertia)[10:], 0.05 * CARD.object.size**2 / 6)


def test_less_friction_lets_a_released_cube_slide_further():
    distances = []
    for friction in (0.1, 0.8):
        scene = PandaScene(CARD)
        scene.reset(LAYOUT, ObjectDynamics(0.1, friction))
        scene.data.qvel[7] = 0.5
        for _ in range(15):
            scene.apply_target(CARD.home.tool_position)
        distances.append(scene.object_position[0] - LAYOUT.object_position[0])
    # v^2 / (2 mu g) is 12.7 and 1.6 cm; contact softness changes it a little.
    assert distances[0] == pytest.approx(0.127, rel=0.15)
    assert distances[1] == pytest.approx(0.016, rel=0.3)


def test_the_simulator_state_restores_what_is_drawn(scene):
    _drive(scene, (0.43, 0.0, 0.05), (0.47, 0.03, 0.02))
    state = scene.get_state()
    assert state.shape == (SIM_STATE_SIZE,)
    assert state.dtype == np.float64
    other = PandaScene(CARD)
    other.set_state(state)
    np.testing.assert_array_equal(other.get_state(), state)
    np.testing.assert_allclose(other.data.geom_xpos, scene.data.geom_xpos, atol=1e-9)
    np.testing.assert_allclose(other.data.geom_xmat, scene.data.geom_xmat, atol=1e-9)
    np.testing.assert_array_equal(other.tool_position, scene.tool_position)


@pytest.mark.parametrize("bad", [np.zeros(3), np.full(SIM_STATE_SIZE, np.nan)])
def test_a_malformed_simulator_state_is_refused(scene, bad):
    with pytest.raises(ValueError, match=f"{SIM_STATE_SIZE} finite numbers"):
        scene.set_state(bad)


def test_a_snapshot_continues_exactly(scene):
    scene.reset(draw_layout(CARD, 0, 1), ObjectDynamics(0.06, 0.4))
    _drive(scene, (0.48, 0.05, 0.02))
    snapshot = scene.snapshot()
    other = PandaScene(CARD)
    other.restore(snapshot)
    for target in ((0.5, 0.06, 0.02), (0.51, 0.05, 0.02), (0.52, 0.05, 0.02)):
        scene.apply_target(target)
        other.apply_target(target)
    np.testing.assert_array_equal(other.get_state(), scene.get_state())


def test_camera_and_light_are_in_place_right_after_a_reset(scene):
    np.testing.assert_allclose(scene.data.cam_xpos[0], CARD.camera.position)
    assert np.linalg.norm(scene.data.light_xdir[0]) == pytest.approx(1.0)


@pytest.mark.parametrize("fingers", ["closed", "holding"])
def test_a_peg_starts_with_no_closed_fingers(scene, fingers):
    with pytest.raises(ValueError, match="'block_push' is a peg; it closes no fingers"):
        scene.place_tool((0.5, 0.0, 0.1), fingers=fingers)
