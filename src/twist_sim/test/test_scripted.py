"""The scripted pusher solves the task, clean and noisy: the task is solvable within its bounds."""

import numpy as np
import pytest

from twist_sim.env import TaskEnv
from twist_sim.scripted import ScriptedPusher


def _solved(noise: float, trials: int) -> tuple[int, list[int]]:
    """Trials solved at the end of the episode, and steps until each was first solved."""
    env, solved, first = TaskEnv("block_push"), 0, []
    pusher = ScriptedPusher(env.card, noise=noise)
    for trial in range(trials):
        observation, info = env.reset(options={"seed": 17, "trial": trial})
        steps = []
        for step in range(env.episode_steps):
            observation, _, _, _, info = env.step(pusher.act(observation))
            if info["success"]:
                steps.append(step + 1)
        solved += info["success"]
        first += steps[:1]
    return solved, first


def test_at_least_95_of_100_trials_are_solved_at_the_end_of_the_episode():
    solved, first = _solved(0.0, 100)
    assert solved >= 95
    assert np.median(first) <= 30


def test_noisy_demonstrations_still_solve_most_trials():
    assert _solved(0.4, 20)[0] >= 17


def test_clean_actions_are_bounded_and_repeatable_and_noise_is_seeded():
    env = TaskEnv("block_push")
    observation, _ = env.reset(seed=0)
    clean = ScriptedPusher(env.card)
    action = clean.act(observation)
    assert np.linalg.norm(action) <= 1 + 1e-6
    np.testing.assert_array_equal(clean.act(observation), action)
    first, second = (ScriptedPusher(env.card, noise=0.3, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.act(observation), second.act(observation))
    assert not np.array_equal(first.act(observation), action)


def test_it_stops_when_the_cube_has_arrived():
    env = TaskEnv("block_push")
    observation, _ = env.reset(seed=0)
    fields = env.contract
    observation[fields.state_slice("object_position")][:2] = observation[
        fields.state_slice("goal_position")
    ]
    np.testing.assert_array_equal(ScriptedPusher(env.card).act(observation), np.zeros(3))


def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        ScriptedPusher(TaskEnv("block_push").card, noise=-0.1)
