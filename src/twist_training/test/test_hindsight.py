"""Hindsight: what happened is kept as if it had been wanted, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from twist_sim.env import TaskEnv
from twist_sim.scene import PandaScene
from twist_sim.task_card import load_task_card
from twist_sim.tasks import MovableGoal
from twist_training.hindsight import in_hindsight
from twist_training.rollout import Float, Observation, make_environments, run_episodes
from twist_training.storage.episodes import Episodes


class _Straight:
    """Goes straight towards the goal at the cube's height, whatever is in the way."""

    def reset(self, trials: np.ndarray) -> None:
        pass

    def act(self, observation: Observation) -> Float:
        goal_from_object = observation.state[:, 12:14]
        ahead = goal_from_object / np.linalg.norm(goal_from_object, axis=1, keepdims=True)
        return np.hstack([0.6 * ahead, np.zeros((len(ahead), 1))]).astype(np.float32)


@pytest.fixture(scope="module")
def episodes() -> Episodes:
    """Eight episodes that begin behind the cube or around it; too short to get to the goal."""
    card = load_task_card("block_push")
    return run_episodes(
        make_environments(card, 8, 8),
        _Straight(),
        seed=3,
        trials=np.arange(8),
        steps=8,
        practice=np.ones(8, bool),
    )


def test_an_episode_in_hindsight_is_the_same_motion_towards_another_goal(
    episodes: Episodes,
) -> None:
    card = load_task_card("block_push")
    rules = card.task_rules
    again = in_hindsight(episodes, rules, 1.0, np.random.default_rng(0))
    assert again is not None
    moved = np.linalg.norm(episodes.sim_state[:, -1, 7:9] - episodes.sim_state[:, 0, 7:9], axis=1)
    expected = ~episodes.success & (moved >= 0.05)
    assert 2 <= expected.sum() < 8
    assert len(again) == expected.sum()
    assert again.success.all()
    np.testing.assert_array_equal(again.previous_action, episodes.previous_action[expected])
    # The scene itself is the judge of every number, the pictures' state included.
    scene = PandaScene(card)
    for states, sim_states, rewards in zip(again.state, again.sim_state, again.reward, strict=True):
        for state, sim_state in zip(states, sim_states, strict=True):
            scene.set_state(sim_state)
            np.testing.assert_allclose(rules.privileged_state(scene), state, atol=2e-3)
        assert rules.distance(states[-1]) == 0.0
        assert rewards[0] == 0.0
        assert rewards[-1] == pytest.approx(rules.reward(states[-1]))
        assert rewards[-1] > rewards[1]
    before = episodes.state[expected]
    np.testing.assert_array_equal(again.state[..., :6], before[..., :6])


def test_a_share_of_them_is_chosen_at_random(episodes: Episodes) -> None:
    rules = load_task_card("block_push").task_rules
    every = in_hindsight(episodes, rules, 1.0, np.random.default_rng(0))
    assert every is not None
    sizes = [
        0
        if (some := in_hindsight(episodes, rules, 0.5, np.random.default_rng(seed))) is None
        else len(some)
        for seed in range(20)
    ]
    assert 0.2 < np.mean(sizes) / len(every) < 0.8
    assert in_hindsight(episodes, rules, 0.0, np.random.default_rng(0)) is None


def test_an_object_that_hardly_moved_teaches_nothing(episodes: Episodes) -> None:
    rules = load_task_card("block_push").task_rules
    assert in_hindsight(episodes.first(0), rules, 1.0, np.random.default_rng(0)) is None
    still = Episodes(
        **{
            name: getattr(episodes, name)[:, :1].repeat(9, 1)
            for name in ("state", "previous_action", "requested_action", "reward", "sim_state")
        },
        success=np.zeros(8, bool),
    )
    assert in_hindsight(still, rules, 1.0, np.random.default_rng(0)) is None


def test_a_goal_that_is_no_place_has_no_hindsight() -> None:
    rules = load_task_card("block_lift").task_rules
    assert not isinstance(rules, MovableGoal)
    env = TaskEnv(load_task_card("block_lift"), episode_steps=2)
    state, info = env.reset(seed=0)
    one = Episodes(
        state=np.stack([state, state])[None].astype(np.float32),
        previous_action=np.zeros((1, 2, 4), np.float32),
        requested_action=np.zeros((1, 2, 4), np.float32),
        reward=np.zeros((1, 2), np.float32),
        sim_state=np.stack([info["sim_state"]] * 2)[None],
        success=np.zeros(1, bool),
    )
    assert in_hindsight(one, rules, 1.0, np.random.default_rng(0)) is None
