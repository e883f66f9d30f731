"""Scripted behaviour: demonstrations from privileged state, and a check that tasks are solvable."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twist_sim.task_card import TaskCard
from twist_sim.typed_yaml import TaskCardError

_CLEARANCE = 0.025  # metres between the peg's surface and the cube's corner when going around
_STOP = 0.008  # metres of cube-goal distance at which pushing ends


class ScriptedPusher:
    """Goes behind the cube, above it where it is in the way, and pushes it to the goal.

    Stateless but for its noise: each action follows from the observation alone.

    Args:
        card: a task whose state has ``ee_position``, ``object_position`` and ``goal_position``.
        noise: standard deviation of Gaussian noise added to each action number, in units of the
            action bound; 0 for the clean controller.
        seed: of the noise.

    Raises:
        ContractError: the task's state lacks one of the fields.
        ValueError: the task's tool is no peg, or the noise is negative.
    """

    def __init__(self, card: TaskCard, noise: float = 0.0, seed: int = 0) -> None:
        if not noise >= 0.0:
            raise ValueError(f"noise must not be negative, found {noise}")
        if card.tool.peg is None:
            raise ValueError(f"a pusher needs a peg; the tool of {card.task!r} is a hand")
        radius = card.tool.peg.radius
        contract = card.contract(observes_ee_position=False)
        self._tip = contract.state_slice("ee_position")
        self._object = contract.state_slice("object_position")
        self._goal = contract.state_slice("goal_position")
        self._bound = card.action.bound
        half = card.object.size / 2
        self._push_height = half
        self._travel_height = min(2 * half + 0.03, card.workspace.upper[2])
        self._touch = half + radius
        self._clear = half * math.sqrt(2) + radius + _CLEARANCE
        self._noise = noise
        self._generator = np.random.default_rng(seed)

    def act(self, observation: ArrayLike) -> NDArray[np.float32]:
        """The next action.

        Args:
            observation: privileged state, SI units, shape (state_size,).

        Returns:
            Action in [-1, 1], shape (3,); its norm times the bound is at most the bound when
            there is no noise.
        """
        state = np.asarray(observation, dtype=np.float64)
        delta = self._direction(state[self._tip], state[self._object], state[self._goal])
        norm = float(np.linalg.norm(delta))
        action = delta / max(norm, self._bound)
        if self._noise > 0.0:
            action = action + self._generator.normal(0.0, self._noise, 3)
        clipped: NDArray[np.float32] = np.clip(action, -1.0, 1.0).astype(np.float32)
        return clipped

    def _direction(
        self, tip: NDArray[np.float64], cube: NDArray[np.float64], goal: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Where the tip wants to go from here, metres, shape (3,); longer than a step at will."""
        to_goal = goal - cube[:2]
        distance = float(np.linalg.norm(to_goal))
        if distance < _STOP:
            return np.zeros(3)
        ahead = to_goal / distance
        side = np.array([-ahead[1], ahead[0]])
        relative = tip[:2] - cube[:2]
        along, across = float(relative @ ahead), float(relative @ side)

        behind_and_low = along < -0.6 * self._touch and tip[2] < self._push_height * 1.8
        if behind_and_low and abs(across) < 0.6 * self._touch:
            # Push: forward by no more than what is left, and back onto the line of pushing.
            step = min(distance + 0.004, self._bound)
            gap = max(-along - self._touch, 0.0)
            planar = ahead * min(step + gap, self._bound) - side * across * 1.5
            return np.array([*planar, 0.5 * (self._push_height - tip[2])])

        wanted = cube[:2] - ahead * (self._touch + 0.012)
        offset = wanted - tip[:2]
        away = float(np.linalg.norm(relative))
        aligned = float(np.linalg.norm(offset)) < 0.012
        if aligned:
            return np.array([*offset, self._push_height - tip[2]])
        if along < -0.5 * self._touch and away > self._clear:
            # Clear of the cube and behind it: go down while approaching.
            return np.array([*offset, self._push_height + 0.2 * away - tip[2]])
        if tip[2] < self._travel_height - 0.012:
            planar = offset * 0.3 if away > self._clear else relative * 0.0
            return np.array([*planar, self._travel_height - tip[2]])
        return np.array([*offset, self._travel_height - tip[2]])


class ScriptedLifter:
    """Opens above the cube, goes down, closes, and goes up once the gripper has had its time.

    Stateless: each action follows from the observation alone.

    Args:
        card: a task with a hand, whose state has ``ee_position``, ``object_from_ee``,
            ``object_clearance``, ``gripper_command`` and ``gripper_busy``.

    Raises:
        ContractError: the task's state lacks one of the fields.
        ValueError: the task's tool is no hand.
    """

    def __init__(self, card: TaskCard) -> None:
        if card.tool.hand is None:
            raise ValueError(f"a lifter needs a hand; the tool of {card.task!r} is a peg")
        contract = card.contract(observes_ee_position=False)
        self._tip = contract.state_slice("ee_position")
        self._offset = contract.state_slice("object_from_ee")
        self._clearance = contract.state_slice("object_clearance").start
        self._command = contract.state_slice("gripper_command").start
        self._busy = contract.state_slice("gripper_busy").start
        self._bound = card.action.bound
        self._over = 2.0 * card.object.size
        self._height = 0.15

    def act(self, observation: ArrayLike) -> NDArray[np.float32]:
        """The next action.

        Args:
            observation: privileged state, SI units, shape (state_size,).

        Returns:
            Action in [-1, 1], shape (4,).
        """
        state = np.asarray(observation, dtype=np.float64)
        offset = state[self._offset]
        beside = float(np.linalg.norm(offset[:2]))
        holds = state[self._command] > 0.0
        delta = np.zeros(3)
        if not holds:
            low_enough = state[self._tip][2] < self._over + 0.02
            high = beside > 0.01 and (not low_enough or beside > 0.03)
            delta = offset + np.array([0.0, 0.0, self._over if high else -0.002])
            if beside > 0.01 and not high:
                delta[2] = 0.0
        elif state[self._busy] <= 0.3:
            delta = np.array([0.0, 0.0, self._height - state[self._clearance]])
        closes = holds or (beside < 0.01 and abs(float(offset[2])) < 0.008)
        norm = float(np.linalg.norm(delta))
        action = np.append(delta / max(norm, self._bound), 1.0 if closes else -1.0)
        return action.astype(np.float32)


_BY_RULES = {"block_push": ScriptedPusher, "block_lift": ScriptedLifter}


def is_scripted(card: TaskCard) -> bool:
    """Whether there is a scripted behaviour for a card's rules."""
    return card.rules in _BY_RULES


def scripted_behaviour(card: TaskCard) -> ScriptedPusher | ScriptedLifter:
    """The scripted behaviour for a card's rules.

    Raises:
        TaskCardError: nothing is scripted for them; such a task is learned from nothing.
    """
    if not is_scripted(card):
        raise TaskCardError(
            f"{card.source}: nothing is scripted for the rules {card.rules!r}; train without "
            "(teacher.scripted_episodes=0)"
        )
    return _BY_RULES[card.rules](card)
