"""Block push is judged as its card says: state, reward and success."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twist_sim.task_card import load_task_card
from twist_sim.tasks.block_push import BlockPushRules

CARD = load_task_card("block_push")
RULES = CARD.task_rules


@dataclass
class FakeScene:
    tool_position: np.ndarray
    object_position: np.ndarray
    object_quaternion: np.ndarray
    goal_position: np.ndarray


def _state(tip=(0.4, 0.0, 0.05), cube=(0.5, 0.0, 0.02), goal=(0.5, 0.1), yaw=0.0):
    quaternion = np.array([math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)])
    scene = FakeScene(np.array(tip), np.array(cube), quaternion, np.array([*goal, 0.0]))
    return RULES.privileged_state(scene)


def _reward_of_the_formula(tip, cube, goal):
    tip, cube, goal = np.array(tip), np.array(cube)[:2], np.array(goal)
    d = np.linalg.norm(cube - goal)
    p = np.append(cube + (cube - goal) / d * 0.035, 0.02)
    e = np.linalg.norm(tip - p)
    near = 1 / (1 + np.exp(-(0.035 - d) / 0.007))
    released = np.clip((np.linalg.norm(tip - np.append(cube, 0.02)) - 0.04) / 0.06, 0, 1)
    w, z = np.linalg.norm(tip[:2] - cube), tip[2]

    def cost(x):
        return np.clip(x / 0.01, 0, 1)

    return (
        max(1 - max(d - 0.015, 0) / 0.12, -1.0)
        + 0.5 * (near + (1 - near) * max(1 - e / 0.25, 0))
        + near
        + 0.5 * near * released
        - 1.5 * cost(0.06 - z) * max(cost(0.028 - w), cost(0.045 - w) * cost(z - 0.03))
    )


def test_the_state_lists_si_numbers_in_the_order_of_its_fields():
    state = _state(tip=(0.4, 0.1, 0.05), cube=(0.5, -0.1, 0.02), goal=(0.6, 0.1), yaw=0.2)
    fields = {}
    start = 0
    for field in RULES.fields:
        fields[field.name] = state[start : start + field.size]
        start += field.size
    assert start == state.size == 16
    np.testing.assert_allclose(fields["ee_position"], (0.4, 0.1, 0.05))
    np.testing.assert_allclose(fields["object_position"], (0.5, -0.1, 0.02))
    np.testing.assert_allclose(fields["goal_position"], (0.6, 0.1))
    np.testing.assert_allclose(fields["object_goal_distance"], math.hypot(0.1, 0.2))
    np.testing.assert_allclose(fields["object_from_ee"], (0.1, -0.2, -0.03))
    np.testing.assert_allclose(fields["goal_from_object"], (0.1, 0.2))
    np.testing.assert_allclose(
        fields["object_yaw_sin_cos_4"], (math.sin(0.8), math.cos(0.8)), atol=1e-12
    )


@given(yaw=st.floats(-3.0, 3.0), turns=st.integers(-2, 2))
def test_a_quarter_turn_of_the_cube_changes_nothing(yaw, turns):
    np.testing.assert_allclose(_state(yaw=yaw), _state(yaw=yaw + turns * math.pi / 2), atol=1e-9)


@settings(max_examples=200)
@given(
    tip=st.tuples(st.floats(0.32, 0.68), st.floats(-0.24, 0.24), st.floats(0.01, 0.12)),
    cube=st.tuples(st.floats(0.35, 0.65), st.floats(-0.2, 0.2), st.just(0.02)),
    goal=st.tuples(st.floats(0.4, 0.6), st.floats(-0.16, 0.16)),
)
def test_the_reward_is_the_documented_formula(tip, cube, goal):
    if math.dist(cube[:2], goal) < 1e-4:
        return
    expected = _reward_of_the_formula(tip, cube, goal)
    assert RULES.reward(_state(tip, cube, goal)) == pytest.approx(expected, abs=1e-9)


def test_the_reward_is_finite_when_the_cube_is_exactly_on_the_goal_or_far_away():
    solved = _state(tip=(0.5, 0.06, 0.02), cube=(0.5, 0.1, 0.02))
    assert RULES.reward(solved) == pytest.approx(2.5, abs=1e-2)
    assert math.isfinite(RULES.reward(_state(cube=(50.0, 0.1, 0.02))))


def test_the_reward_grows_along_reaching_pushing_and_arriving():
    behind = (0.5, -0.035, 0.02)
    rewards = [
        RULES.reward(_state(tip=(0.4, 0.1, 0.1))),
        RULES.reward(_state(tip=behind)),
        RULES.reward(_state(tip=(0.5, 0.0, 0.02), cube=(0.5, 0.035, 0.02))),
        RULES.reward(_state(tip=(0.5, 0.04, 0.02), cube=(0.5, 0.075, 0.02))),
        RULES.reward(_state(tip=(0.5, 0.06, 0.02), cube=(0.5, 0.095, 0.02))),
    ]
    assert rewards == sorted(rewards)
    gone = RULES.reward(_state(tip=(0.4, -0.2, 0.1), cube=(0.5, 0.095, 0.02)))
    assert gone > rewards[-1] + 0.4, "a cube that has arrived is let go"
    left_early = RULES.reward(_state(tip=(0.4, -0.2, 0.1), cube=(0.5, 0.05, 0.02)))
    pushing = RULES.reward(_state(tip=(0.5, 0.015, 0.02), cube=(0.5, 0.05, 0.02)))
    assert left_early < pushing, "a cube that has not arrived is not"


def test_being_on_the_cube_or_coming_down_close_to_it_costs_more_than_it_brings():
    beside = RULES.reward(_state(tip=(0.5, -0.033, 0.02)))
    for height, aside in ((0.025, 0.0), (0.038, 0.0), (0.045, 0.015), (0.045, 0.034)):
        on = RULES.reward(_state(tip=(0.5, aside, height)))
        assert on < beside - 1.0


def test_pushing_at_any_place_of_the_cubes_side_costs_nothing():
    without = dataclasses.replace(RULES.parameters, press_weight=1e-12)
    free = BlockPushRules(CARD)
    free.parameters = without
    for aside in (0.028, 0.032, 0.036):
        for height in (0.012, 0.02, 0.03):
            state = _state(tip=(0.5, -aside, height))
            assert RULES.reward(state) == pytest.approx(free.reward(state), abs=1e-9)


def test_passing_over_the_cube_costs_nothing():
    beside = RULES.reward(_state(tip=(0.5, -0.033, 0.02)))
    above = RULES.reward(_state(tip=(0.5, 0.0, 0.061)))
    assert above > beside - 0.15


def test_success_is_the_cubes_centre_within_five_centimetres():
    assert RULES.success(_state(cube=(0.5, 0.0501, 0.02)))
    assert not RULES.success(_state(cube=(0.5, 0.0499, 0.02)))
    assert RULES.distance(_state()) == pytest.approx(0.1)


def test_float32_states_are_judged_like_float64_states():
    state = _state(cube=(0.47, 0.03, 0.02))
    assert RULES.reward(state.astype(np.float32)) == pytest.approx(RULES.reward(state), abs=1e-5)
