"""Hindsight experience replay (Andrychowicz et al., 2017): what happened, as if it had been wanted.

A beginner pushes the cube somewhere, hardly ever to its goal, and a reward model that has never
seen a solved episode cannot tell the actor what solving is worth. With the goal put where the
cube came to rest, the same episode is a solved one.
"""

from __future__ import annotations

import numpy as np

from twist_sim.scene import SIM_STATE_GOAL, SIM_STATE_OBJECT
from twist_sim.tasks import MovableGoal, TaskRules
from twist_training.storage.episodes import Episodes, judged_again


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
    states = {
        int(number): rules.with_goal_at_object(episodes.state[number], -1)
        for number in np.flatnonzero(~episodes.success)
    }
    numbers = [
        number
        for number, imagined in states.items()
        if not rules.success(imagined[0]) and generator.random() < share
    ]
    if not numbers:
        return None
    again = episodes.chosen(numbers)
    again.sim_state[:, :, SIM_STATE_GOAL] = again.sim_state[:, -1:, SIM_STATE_OBJECT][..., :2]
    again.state[:] = [states[number] for number in numbers]
    again.success[:] = True
    return judged_again(again, rules)
