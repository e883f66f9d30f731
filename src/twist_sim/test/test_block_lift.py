"""Block lift: the hand grasps as Franka's does, and the task is judged as its card says."""

from dataclasses import dataclass

import numpy as np
import pytest

from twist_sim.env import TaskEnv
from twist_sim.layout import Layout, draw_practice
from twist_sim.scene import PandaScene
from twist_sim.scripted import ScriptedLifter, ScriptedPusher, scripted_behaviour
from twist_sim.task_card import load_task_card

CARD = load_task_card("block_lift")
RULES = CARD.task_rules
HAND = CARD.tool.hand
ON_TABLE = Layout((0.5, 0.05, 0.02), 0.1, (0.5, 0.05, 0.0))


@pytest.fixture
def scene():
    return PandaScene(CARD)


def _hold(scene, seconds):
    for _ in range(round(seconds / CARD.control_period)):
        scene.apply_target(scene.tool_position)


def _grasped(scene):
    scene.reset(ON_TABLE)
    scene.place_tool((0.5, 0.05, 0.018))
    scene.command_gripper(close=True)
    for _ in range(10):
        scene.apply_target((0.5, 0.05, 0.018))
    return scene


def test_fingers_wait_for_the_latency_and_then_close_at_their_speed(scene):
    scene.reset(ON_TABLE)
    scene.command_gripper(close=True)
    hover = scene.tool_position
    widths = []
    for _ in range(12):
        scene.apply_target(hover)
        widths.append(scene.finger_width)
    spec, period = HAND.gripper, CARD.control_period
    assert widths[round(HAND.latency / period) - 1] == pytest.approx(spec.open_width, abs=1e-3)
    moving = widths[3] - widths[5]
    assert moving == pytest.approx(2 * period * spec.speed, rel=0.1)
    assert widths[-1] < 0.002, "nothing stops the fingers above an empty table"
    assert scene.gripper_closed
    assert not scene.grasped
    assert scene.gripper_busy == 0.0


def test_a_grasped_cube_is_carried_for_a_whole_episode_without_creeping_out(scene):
    _grasped(scene)
    assert scene.grasped
    spec = HAND.gripper
    assert spec.grasp_width - spec.epsilon_inner < scene.finger_width
    assert scene.finger_width < spec.grasp_width + spec.epsilon_outer
    for step in range(CARD.episode_steps):
        scene.apply_target((0.5, 0.05, min(0.018 + 0.015 * step, 0.16)))
    assert scene.object_position[2] > 0.15
    np.testing.assert_allclose(scene.object_position[:2], scene.tool_position[:2], atol=0.006)


def test_opening_drops_the_cube(scene):
    _grasped(scene)
    for step in range(20):
        scene.apply_target((0.5, 0.05, min(0.018 + 0.015 * step, 0.16)))
    scene.command_gripper(close=False)
    for _ in range(12):
        scene.apply_target((0.5, 0.05, 0.16))
    assert scene.object_position[2] < 0.05
    assert scene.finger_width == pytest.approx(HAND.gripper.open_width, abs=2e-3)


def test_simulator_state_and_snapshot_keep_the_fingers(scene):
    _grasped(scene)
    state, snapshot = scene.get_state(), scene.snapshot()
    for _ in range(5):
        scene.apply_target((0.5, 0.05, 0.05))
    after = scene.get_state()
    other = PandaScene(CARD)
    other.restore(snapshot)
    for _ in range(5):
        other.apply_target((0.5, 0.05, 0.05))
    np.testing.assert_array_equal(other.get_state(), after)
    other.set_state(state)
    np.testing.assert_allclose(other.get_state(), state)
    assert other.gripper_closed


def test_the_scripted_lifter_lifts_every_cube():
    env = TaskEnv("block_lift", episode_steps=75)
    lifter = scripted_behaviour(CARD)
    assert isinstance(lifter, ScriptedLifter)
    for trial in range(8):
        state, info = env.reset(options={"seed": 3, "trial": trial})
        while True:
            state, _, _, truncated, info = env.step(lifter.act(state))
            if truncated:
                break
        assert info["success"], (trial, info["distance"], info["stopped"])


def test_scripts_refuse_the_wrong_tool():
    with pytest.raises(ValueError, match="needs a peg"):
        ScriptedPusher(CARD)
    with pytest.raises(ValueError, match="needs a hand"):
        ScriptedLifter(load_task_card("block_push"))


def test_a_peg_takes_no_gripper_commands():
    with pytest.raises(ValueError, match="takes no commands"):
        PandaScene(load_task_card("block_push")).command_gripper(close=True)


def test_the_environment_feeds_the_gates_state_back_not_the_request():
    env = TaskEnv("block_lift")
    _, info = env.reset(options={"seed": 1, "trial": 0})
    assert info["executed_action"][3] == -1.0
    for asked, expected in ((0.2, -1.0), (0.9, 1.0), (-0.9, 1.0)):
        _, _, _, _, info = env.step(np.array([0, 0, 0, asked], np.float32))
        assert info["executed_action"][3] == expected, "a command runs for its whole time"
    for _ in range(10):
        _, _, _, _, info = env.step(np.array([0, 0, 0, -0.9], np.float32))
    assert info["executed_action"][3] == -1.0


def test_slow_steps_have_slow_fingers():
    """So that a command takes as many steps as it did in training."""
    closed = []
    for periods in (1, 4):
        env = TaskEnv("block_lift", step_periods=periods)
        env.reset(options={"seed": 1, "trial": 0})
        closed.append(0)
        while env.scene.finger_width >= 0.002:
            env.step(np.array([0, 0, 0, 1.0], np.float32))
            closed[-1] += 1
            assert closed[-1] < 30
    assert closed[0] >= 4
    assert closed[1] == pytest.approx(closed[0], abs=3)


def test_practice_starts_are_what_their_names_say_and_repeat():
    env = TaskEnv("block_lift")
    names = set()
    for trial in range(40):
        practice = draw_practice(CARD, 7, trial)
        names.add(practice.name)
        _, info = env.reset(options={"seed": 7, "trial": trial, "practice": True})
        scene = env.scene
        holding = practice.fingers == "holding"
        closed = practice.fingers != "open"
        assert scene.grasped == holding
        assert scene.gripper_closed == closed
        assert scene.gripper_busy == 0.0
        assert info["executed_action"][3] == (1.0 if closed else -1.0)
        width = {"open": 0.08, "closed": 0.0, "holding": 0.04}[practice.fingers]
        assert scene.finger_width == pytest.approx(width, abs=0.002)
        np.testing.assert_allclose(scene.tool_position, practice.tool_position, atol=0.004)
        if holding:
            np.testing.assert_allclose(
                scene.object_position, practice.layout.object_position, atol=0.006
            )
        assert practice == draw_practice(CARD, 7, trial)
    assert names == {start.name for start in CARD.practice}


@dataclass
class FakeScene:
    tool_position: np.ndarray
    object_position: np.ndarray
    object_quaternion: np.ndarray
    goal_position: np.ndarray
    finger_width: float
    grasped: bool
    gripper_closed: bool
    gripper_busy: float


def _state(height=0.02, tip=(0.5, 0.0, 0.05), grasped=False):
    return RULES.privileged_state(
        FakeScene(
            np.array(tip),
            np.array([0.5, 0.0, height]),
            np.array([1.0, 0.0, 0.0, 0.0]),
            np.zeros(3),
            0.04 if grasped else 0.08,
            grasped,
            grasped,
            0.0,
        )
    )


@pytest.mark.parametrize(
    ("height", "success"), [(0.02, False), (0.1199, False), (0.1201, True), (0.2, True)]
)
def test_success_is_ten_centimetres_of_air_under_the_cube(height, success):
    state = _state(height)
    assert RULES.success(state) is success
    assert RULES.distance(state) == pytest.approx(max(0.0, 0.12 - height))


def test_the_reward_rises_along_the_way():
    way = [
        _state(tip=(0.45, 0.0, 0.15)),
        _state(tip=(0.5, 0.0, 0.10)),
        _state(tip=(0.5, 0.0, 0.02)),
        _state(tip=(0.5, 0.0, 0.02), grasped=True),
        _state(0.08, tip=(0.5, 0.0, 0.08), grasped=True),
        _state(0.14, tip=(0.5, 0.0, 0.14), grasped=True),
    ]
    rewards = [RULES.reward(state) for state in way]
    assert rewards == sorted(rewards)
    assert RULES.reward(_state(0.14, tip=(0.5, 0.0, 0.02))) < rewards[3], (
        "a thrown cube earns nothing"
    )


def _charged(state, weight="press_weight"):
    """What the refined rules' term of this weight takes from the reward, per unit of weight."""
    assert CARD.refinement[weight] > 0.0
    alone = dict.fromkeys(CARD.refinement, 0.0) | {weight: 1.0}
    return RULES.reward(state) - CARD.refined(**alone).task_rules.reward(state)


@pytest.mark.parametrize(
    ("tip", "width", "yaw", "charged"),
    [
        ((0.0, 0.0, 0.027), 0.02, 0.0, 1.0),  # closed, on the cube's top
        ((0.0, 0.0, 0.038), 0.02, 0.0, 0.8),  # just over it
        ((0.0, 0.0, 0.05), 0.02, 0.0, 0.0),  # well over it
        ((0.0, 0.03, 0.027), 0.08, 0.0, 1.0),  # open, one finger on the top
        ((0.0, -0.03, 0.027), 0.08, 0.0, 1.0),
        ((0.0, 0.0, 0.027), 0.08, 0.0, 0.0),  # open, a finger on either side
        ((0.0, 0.013, 0.027), 0.08, 0.0, 0.0),
        ((0.0, 0.018, 0.027), 0.08, 0.0, 0.5),
        ((0.0, 0.018, 0.027), 0.08, np.pi / 4, 1.0),  # a cube that is wider there
        ((0.0, 0.018, 0.027), 0.08, -np.pi / 4, 1.0),
        ((0.0, 0.08, 0.027), 0.08, 0.0, 0.0),  # beside the cube
        ((0.04, 0.0, 0.027), 0.02, 0.0, 0.0),
        ((0.0, 0.0, 0.0), 0.037, 0.0, 0.0),  # grasped
        ((0.018, 0.0, 0.005), 0.042, np.pi / 4, 0.0),
    ],
)
def test_a_refined_behaviour_is_charged_for_a_finger_on_the_cubes_top(tip, width, yaw, charged):
    state = _state_over_cube(tip, width, yaw)
    assert _charged(state) == pytest.approx(charged, abs=0.15)


@pytest.mark.parametrize(
    ("height", "closed", "grasped", "charged"),
    [
        (0.1, True, False, 1.0),  # on the way down
        (0.03, True, False, 1.0),
        (0.0, True, False, 0.0),  # beside the cube
        (0.0, True, True, 0.0),
        (0.1, False, False, 0.0),
    ],
)
def test_a_refined_behaviour_is_charged_for_closing_above_the_cube(
    height, closed, grasped, charged
):
    state = _state_over_cube((0.0, 0.0, height), 0.05, closed=closed, grasped=grasped)
    assert _charged(state, "early_weight") == pytest.approx(charged)


def _state_over_cube(tip, width, yaw=0.0, closed=True, grasped=False):
    cube = np.array([0.5, 0.0, 0.02])
    turn = np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])
    return RULES.privileged_state(
        FakeScene(cube + tip, cube, turn, np.zeros(3), width, grasped, closed, 0.0)
    )


@pytest.mark.parametrize("closed_above", [True, False])
def test_what_is_charged_is_what_presses_on_the_cube(scene, closed_above):
    scene.reset(ON_TABLE)
    scene.place_tool((0.5, 0.05, 0.09))
    forces, charged = [], []

    def move(height, steps):
        for _ in range(steps):
            step = np.clip(height - scene.tool_position[2], -0.02, 0.02)
            scene.apply_target((0.5, 0.05, scene.tool_position[2] + step))
            forces.append(np.linalg.norm(scene.contact_force))
            charged.append(_charged(RULES.privileged_state(scene)))

    if closed_above:
        scene.command_gripper(close=True)
        move(0.09, 8)
        move(0.03, 6)
        assert max(forces) > 25.0
        assert max(charged) > 0.9
    else:
        move(0.02, 8)
        scene.command_gripper(close=True)
        move(0.02, 10)
        assert scene.grasped
        move(0.15, 10)
        assert scene.object_position[2] > 0.12
        assert max(forces) < 10.0
        assert max(charged) == 0.0
