"""The environment: Gymnasium's rules, repeatable trials, and the robot's own action bounds."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from twist_policy.contract import PolicyContract
from twist_sim.env import TaskEnv, environment_id
from twist_sim.layout import draw_dynamics, draw_layout
from twist_sim.scene import SIM_STATE_SIZE, SimulationError
from twist_sim.scripted import ScriptedPusher
from twist_sim.task_card import available_tasks, load_task_card


@pytest.fixture(scope="module")
def env():
    return TaskEnv("block_push")


def _rollout(env, *, seed, trial, steps=25, noise=0.5):
    """Observations and rewards of a noisy scripted episode."""
    pusher = ScriptedPusher(env.card, noise=noise, seed=4)
    observation, _ = env.reset(options={"seed": seed, "trial": trial})
    trace = [observation]
    for _ in range(steps):
        observation, reward, *_ = env.step(pusher.act(observation))
        trace.append(np.append(observation, np.float32(reward)))
    return np.concatenate(trace)


@pytest.mark.parametrize("task", available_tasks())
def test_every_task_obeys_gymnasium(task):
    check_env(TaskEnv(task), skip_render_check=True)


def test_the_registered_id_makes_the_environment():
    made = gymnasium.make(environment_id("block_push"))
    assert isinstance(made.unwrapped, TaskEnv)
    made.close()


def test_the_same_trial_gives_the_same_trajectory_in_any_environment_at_any_time(env):
    first = _rollout(env, seed=5, trial=2)
    _rollout(env, seed=9, trial=7)
    np.testing.assert_array_equal(_rollout(env, seed=5, trial=2), first)
    np.testing.assert_array_equal(_rollout(TaskEnv("block_push"), seed=5, trial=2), first)


def test_resets_walk_through_the_trials_of_a_seed(env):
    seen = [env.reset(seed=3)[1]] + [env.reset()[1] for _ in range(2)]
    assert [(info["seed"], info["trial"]) for info in seen] == [(3, 0), (3, 1), (3, 2)]
    _, info = env.reset(options={"trial": 40})
    assert (info["seed"], info["trial"]) == (3, 40)
    layout = draw_layout(env.card, 3, 40)
    np.testing.assert_allclose(env.scene.object_position, layout.object_position)
    assert env.scene.dynamics == draw_dynamics(env.card, 3, 40)


def test_wrong_reset_options_are_refused(env):
    with pytest.raises(ValueError, match="found \\['trail'\\]"):
        env.reset(options={"trail": 1})
    with pytest.raises(ValueError, match="must not be negative"):
        env.reset(options={"trial": -1})
    with pytest.raises(TypeError, match="integer"):
        env.reset(options={"seed": 1.9})


def test_a_refused_reset_changes_nothing(env):
    env.reset(seed=4)
    with pytest.raises(ValueError, match="must not be negative"):
        env.reset(options={"seed": 9, "trial": -5})
    _, info = env.reset()
    assert (info["seed"], info["trial"]) == (4, 1)


def test_no_trial_starts_solved(env):
    for trial in range(200):
        _, info = env.reset(options={"seed": 0, "trial": trial})
        assert not info["success"]
        assert info["distance"] >= 0.08 - 1e-9


@pytest.mark.parametrize("action", [[np.nan, 0, 0], [np.inf, 0, 0], [0, 0], [[0, 0, 0]]], ids=str)
def test_actions_that_are_not_three_finite_numbers_are_refused(env, action):
    env.reset(seed=0)
    with pytest.raises(ValueError, match="3 finite numbers"):
        env.step(np.array(action, dtype=np.float32))


def test_stepping_before_a_reset_says_what_to_do():
    with pytest.raises(RuntimeError, match="call reset"):
        TaskEnv("block_push").step(np.zeros(3, np.float32))


def test_executed_actions_respect_every_bound_and_are_what_was_commanded(env):
    card, generator = env.card, np.random.default_rng(0)
    for trial in range(3):
        _, info = env.reset(options={"seed": 1, "trial": trial})
        np.testing.assert_array_equal(info["executed_action"], np.zeros(3))
        target = info["ee_position"].astype(np.float64)
        push = np.zeros(3)
        for step in range(100):
            if step % 8 == 0:
                push = generator.uniform(-1, 1, 3)
            measured = info["ee_position"]
            _, _, _, _, info = env.step(push.astype(np.float32))
            executed = info["executed_action"]
            assert np.linalg.norm(executed) <= 1 + 1e-6
            target = target + executed * card.action.bound
            assert np.all(target >= np.array(card.workspace.lower) - 1e-6)
            assert np.all(target <= np.array(card.workspace.upper) + 1e-6)
            assert np.linalg.norm(target - measured) <= card.action.leash + 1e-6


def test_small_actions_are_executed_unchanged(env):
    env.reset(seed=0)
    action = np.array([0.3, -0.2, 0.1], np.float32)
    _, _, _, _, info = env.step(action)
    np.testing.assert_allclose(info["executed_action"], action, atol=1e-6)


def test_a_step_that_is_spread_over_periods_moves_as_far(env):
    slow = TaskEnv("block_push", step_periods=5)
    positions = []
    slow.on_period = lambda: positions.append(slow.scene.tool_position)
    action = np.array([0.4, -0.8, 0.0], np.float32)
    for world in (env, slow):
        world.reset(options={"seed": 0, "trial": 0})
        _, _, _, _, info = world.step(action)
        np.testing.assert_allclose(info["executed_action"], action, atol=1e-6)
    assert slow.scene.data.time == pytest.approx(5 * env.scene.data.time)
    # Where the fast arm still lags behind its target, the slow one has arrived.
    way = np.diff([p[1] for p in positions])
    assert np.all(way < 0)
    assert way == pytest.approx(-0.8 * 0.02 / 5, rel=0.2)
    with pytest.raises(ValueError, match="step_periods must be positive"):
        TaskEnv("block_push", step_periods=0)


def test_a_gate_that_refuses_ends_the_episode_with_its_reason(env):
    env.reset(seed=0)
    env.scene.data.qpos[0] += 0.5  # the arm is knocked away, far beyond leash and bound
    env.scene.step_joint_targets(env.scene.joint_positions)
    _, _, terminated, truncated, info = env.step(np.zeros(3, np.float32))
    assert truncated
    assert not terminated
    assert "did not follow or was moved" in info["stopped"]


def test_a_world_that_has_blown_up_is_not_gone_on_with(env):
    env.reset(seed=0)
    env.scene.data.qvel[:] = 1e11
    with pytest.raises(SimulationError, match=r"has blown up.*smaller physics\.timestep"):
        env.step(np.zeros(3, np.float32))
    env.reset(seed=0)
    env.step(np.zeros(3, np.float32))


def test_episodes_are_truncated_at_the_asked_length_and_never_terminate():
    env = TaskEnv("block_push", episode_steps=3)
    _, info = env.reset(seed=0)
    assert info["stopped"] == ""
    ends = [env.step(np.zeros(3, np.float32))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]
    assert TaskEnv("block_push").episode_steps == 150
    with pytest.raises(ValueError, match="episode_steps must be positive"):
        TaskEnv("block_push", episode_steps=0)


def test_info_holds_what_training_stores_and_the_state_can_be_drawn_later(env):
    _, info = env.reset(seed=2)
    observation, _, _, _, after = env.step(np.array([1, 0, -1], np.float32))
    assert info.keys() == after.keys()
    assert after["sim_state"].shape == (SIM_STATE_SIZE,)
    assert after["sim_state"].dtype == np.float32
    assert isinstance(after["success"], bool)
    assert isinstance(after["distance"], float)
    contract: PolicyContract = env.contract
    np.testing.assert_array_equal(
        after["ee_position"], observation[contract.state_slice("ee_position")]
    )
    np.testing.assert_array_equal(
        after["sim_state"][7:10], observation[contract.state_slice("object_position")]
    )


def test_vector_environments_step_in_worker_processes():
    card = load_task_card("block_push")
    vector = gymnasium.vector.AsyncVectorEnv(
        [lambda seed=seed: TaskEnv(card, seed=seed) for seed in range(2)], context="spawn"
    )
    try:
        observations, _ = vector.reset()
        single, _ = TaskEnv(card, seed=1).reset()
        np.testing.assert_array_equal(observations[1], single)
        vector.step(np.zeros((2, 3), np.float32))
    finally:
        vector.close()


def test_pressing_on_the_cube_is_felt_and_passing_over_it_is_not(env):
    env.reset(options={"seed": 3, "trial": 1})
    assert np.linalg.norm(env.scene.contact_force) == 0.0
    up, forces = 0.07, []
    for step in range(60):
        height = up if step < 30 else -0.05
        wanted = env.scene.object_position + np.array([0.0, 0.0, height]) - env.scene.tool_position
        *_, info = env.step(np.clip(wanted / env.card.action.bound, -1.0, 1.0).astype(np.float32))
        forces.append(np.linalg.norm(env.scene.contact_force))
        assert not info["stopped"]
    assert max(forces[:30]) == 0.0
    assert 25.0 < max(forces[30:]) < 1000.0, "the whole arm leans on it"
