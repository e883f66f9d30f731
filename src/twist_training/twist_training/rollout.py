"""Stepping many environments side by side under one batched policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from twist_sim.env import TaskEnv
from twist_sim.task_card import TaskCard
from twist_training.storage.episodes import Episodes

Float = NDArray[np.float32]

CONTACT_FORCE_LIMIT = 25.0
"""What a Franka arm's profile allows (twist_bringup/config/robots), newtons."""


class BatchPolicy(Protocol):
    """Chooses actions for N environments at once."""

    def reset(self, trials: NDArray[np.int64]) -> None:
        """Starts N new episodes with these trial numbers."""

    def act(self, observation: Observation) -> Float:
        """Actions in [-1, 1], (N, A)."""


@dataclass(frozen=True)
class Observation:
    """What N environments show after a step.

    Attributes:
        state: privileged state, SI units, (N, S).
        executed_action: the action the gate let through in the last step; zeros after a reset,
            (N, A).
        sim_state: compact simulator state, (N, K).
        ee_position: measured tool-tip position, metres, (N, 3).
    """

    state: Float
    executed_action: Float
    sim_state: Float
    ee_position: Float


def contact_force(environment: TaskEnv) -> float:
    """What the arm presses with, newtons; the simulated one is stiffer than a real one."""
    return float(np.linalg.norm(environment.scene.contact_force))


def make_environments(card: TaskCard, count: int, episode_steps: int) -> list[TaskEnv]:
    """`count` environments in this process; their episodes are equally long, so they stay in step.

    Gymnasium's vector environments reset all members with the same options; layouts here are
    per environment, hence a plain list.
    """
    return [TaskEnv(card, episode_steps=episode_steps) for _ in range(count)]


def run_episodes(
    environments: list[TaskEnv],
    policy: BatchPolicy,
    *,
    seed: int,
    trials: NDArray[np.int64],
    steps: int,
    practice: NDArray[np.bool_] | None = None,
    after_step: Callable[[], None] | None = None,
) -> Episodes:
    """Runs one episode in each of the first N environments.

    Args:
        environments: from `make_environments`, with at least `steps` steps an episode.
        policy: chooses the actions.
        seed: layouts are drawn from (task, seed, trial).
        trials: one trial number for each environment to use, (N,).
        steps: T, actions per episode.
        practice: which of the N start at one of the card's practice starts; none when None.
        after_step: called after every step of all environments.
    """
    active = environments[: len(trials)]
    if len(active) < len(trials):
        raise ValueError(f"{len(trials)} trials need as many environments, found {len(active)}")
    if practice is None:
        practice = np.zeros(len(active), bool)
    observation = _gather(
        [
            environment.reset(options={"seed": seed, "trial": int(trial), "practice": bool(eased)})
            for environment, trial, eased in zip(active, trials, practice, strict=True)
        ]
    )
    policy.reset(trials)
    count = len(active)
    record: dict[str, list[NDArray[Any]]] = {
        "state": [observation.state],
        "previous_action": [observation.executed_action],
        "requested_action": [observation.executed_action],
        "reward": [np.zeros(count, np.float32)],
        "sim_state": [observation.sim_state],
    }
    success, stopped = np.zeros(count, bool), np.zeros(count, bool)
    for _ in range(steps):
        actions = policy.act(observation)
        results = [env.step(action) for env, action in zip(active, actions, strict=True)]
        observation = _gather([(result[0], result[4]) for result in results])
        # A robot that was stopped is not asked again, though the episode goes on for training.
        stopped |= np.array([bool(result[4]["stopped"]) for result in results])
        success = ~stopped & np.array([result[4]["success"] for result in results], bool)
        record["state"].append(observation.state)
        record["previous_action"].append(observation.executed_action)
        record["requested_action"].append(_norm_bounded(actions))
        record["reward"].append(np.array([result[1] for result in results], np.float32))
        record["sim_state"].append(observation.sim_state)
        if after_step is not None:
            after_step()
    return Episodes(
        **{name: np.stack(values, axis=1) for name, values in record.items()}, success=success
    )


def _norm_bounded(actions: Float) -> Float:
    norm = np.linalg.norm(actions[:, :3], axis=1, keepdims=True)
    return np.concatenate([actions[:, :3] / np.maximum(norm, 1.0), actions[:, 3:]], axis=1)


def _gather(results: list[tuple[Any, dict[str, Any]]]) -> Observation:
    def stack(name: str) -> Float:
        return np.stack([info[name] for _, info in results]).astype(np.float32)

    return Observation(
        state=np.stack([state for state, _ in results]).astype(np.float32),
        executed_action=stack("executed_action"),
        sim_state=stack("sim_state"),
        ee_position=stack("ee_position"),
    )
