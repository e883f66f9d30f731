"""Hindsight experience replay (Andrychowicz et al., 2017): what happened, as if it had been wanted.

A beginner pushes the cube somewhere, hardly ever to its goal, and a reward model that has never
seen a solved episode cannot tell the actor what solving is worth. With the goal put where the
cube came to rest, the same episode is a solved one.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from twist_sim.scene import SIM_STATE_GOAL, SIM_STATE_OBJECT
from twist_sim.tasks import MovableGoal, TaskRules
from twist_training.storage.episodes import Episodes


def in_hindsight(
    episodes: Episodes, rules: TaskRules, share: float, generator: np.random.Generator
) -> Episodes | None:
    """Unsolved episodes again, with the goal where the object came to rest.

    Those that would then begin solved are left out: nothing was learned from an object that
    hardly moved.

    Args:
        episodes: as they happened.
        rules: of the task.
        share: how many of the possible ones, in [0, 1].
        generator: chooses them.

    Returns:
        New episodes with other states, rewards and simulator states; None when there are none, or
        where the task's goal is no place on the table.
    """
    if not isinstance(rules, MovableGoal) or share <= 0.0:
        return None
    found = []
    for number in np.flatnonzero(~episodes.success):
        states = rules.with_goal_at_object(episodes.state[number], -1)
        if rules.success(states[0]) or generator.random() >= share:
            continue
        sim_state = episodes.sim_state[number].copy()
        sim_state[:, SIM_STATE_GOAL] = sim_state[-1, SIM_STATE_OBJECT][:2]
        reward = np.zeros_like(episodes.reward[number])
        reward[1:] = [rules.reward(state) for state in states[1:]]
        found.append((number, states, sim_state, reward))
    if not found:
        return None
    numbers = [number for number, *_ in found]
    return dataclasses.replace(
        episodes,
        state=np.stack([states for _, states, _, _ in found]),
        sim_state=np.stack([sim_state for _, _, sim_state, _ in found]),
        reward=np.stack([reward for *_, reward in found]),
        previous_action=episodes.previous_action[numbers],
        requested_action=episodes.requested_action[numbers],
        success=np.ones(len(found), bool),
    )
