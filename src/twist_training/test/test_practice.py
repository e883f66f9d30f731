"""Episodes that begin at a practice start, in the share that was asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from twist_sim.layout import draw_practice
from twist_sim.task_card import TaskCardError, available_tasks
from twist_training.configuration import PRESETS
from twist_training.rollout import make_environments, run_episodes
from twist_training.runners.teacher_episodes import practice_starts, teacher_episodes
from twist_training.session import Session
from twist_training.teacher_policy import RandomPolicy, ScriptedPolicy


def _session(tmp_path: Path, task: str) -> Session:
    return Session(dataclasses.replace(PRESETS["smoke"], task=task), tmp_path / task)


@pytest.mark.parametrize("task", available_tasks())
def test_episodes_begin_where_they_were_asked_to(tmp_path: Path, task: str) -> None:
    session = _session(tmp_path, task)
    policy = RandomPolicy(session, np.random.default_rng(0))
    episodes = run_episodes(
        make_environments(session.card, 2, 3),
        policy,
        seed=5,
        trials=np.array([8, 9]),
        steps=3,
        practice=np.array([True, False]),
    )
    tip = session.contract.state_slice("ee_position")
    eased = draw_practice(session.card, 5, 8).tool_position
    np.testing.assert_allclose(episodes.state[0, 0, tip], eased, atol=0.004)
    home = session.card.home.tool_position
    np.testing.assert_allclose(episodes.state[1, 0, tip], home, atol=1e-3)


def test_the_share_falls_over_the_first_half_of_training(tmp_path: Path) -> None:
    session = _session(tmp_path, "block_push")
    config = session.config.teacher
    generator = np.random.default_rng(0)
    shares = [
        practice_starts(session, config.practice_share(fraction), 4000, generator).mean()
        for fraction in (0.0, 0.25, 0.5, 1.0)
    ]
    middle = (config.practice + config.final_practice) / 2
    expected = [config.practice, middle, config.final_practice, config.final_practice]
    np.testing.assert_allclose(shares, expected, atol=0.03)


def test_no_evaluation_begins_at_a_practice_start(tmp_path: Path) -> None:
    session = _session(tmp_path, "block_push")
    policy = RandomPolicy(session, np.random.default_rng(0))
    tip = session.contract.state_slice("ee_position")
    home = session.card.home.tool_position
    plain = teacher_episodes(session, policy, seed=1, episodes=6, steps=2)
    np.testing.assert_allclose(plain.state[:, 0, tip], [home] * 6, atol=1e-3)
    eased = teacher_episodes(session, policy, seed=1, episodes=6, steps=2, practice=1.0)
    assert (np.abs(eased.state[:, 0, tip] - home).max(axis=1) > 0.01).all()


def test_a_task_without_a_script_asks_for_training_from_nothing(tmp_path: Path) -> None:
    session = _session(tmp_path, "block_push")
    session.card = dataclasses.replace(session.card, rules="own.module:Rules")
    with pytest.raises(TaskCardError, match="scripted_episodes=0"):
        ScriptedPolicy(session, 0.5, np.random.default_rng(0))
