"""Episodes of the teacher's: those that its training starts from, and those that measure it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twist_sim.env import TaskEnv
from twist_sim.tasks import TaskRules
from twist_training.algorithms.world_model import Batch
from twist_training.configuration import TeacherConfig
from twist_training.hindsight import in_hindsight
from twist_training.progress import ProgressBar
from twist_training.rollout import BatchPolicy, contact_force, make_environments, run_episodes
from twist_training.run_identity import RunError
from twist_training.session import Session
from twist_training.storage.episodes import Episodes, Replay, object_moved
from twist_training.teacher_policy import RandomPolicy, ScriptedPolicy

_MOST_TRIES = 200
"""Episodes of random actions tried for each one that is kept for having moved the object."""


def first_episodes(config: TeacherConfig) -> int:
    """How many episodes training starts from, those kept once more in hindsight left out."""
    return config.scripted_episodes + config.random_episodes + config.lucky_episodes


def seed_replay(
    session: Session, replay: Replay, environments: list[Any], generator: np.random.Generator
) -> None:
    """Adds the episodes that training starts from: random ones, scripted ones, lucky ones.

    Raises:
        RunError: random actions hardly ever move the object.
    """
    config, rules = session.config.teacher, session.card.task_rules
    random = RandomPolicy(session, generator)
    tried = 0

    def run(policy: BatchPolicy, count: int) -> Episodes:
        nonlocal tried
        trials = tried + np.arange(min(count, len(environments)))
        tried += len(trials)
        return run_episodes(
            environments,
            policy,
            seed=session.layout_seed("teacher"),
            trials=trials,
            steps=config.episode_steps,
            practice=practice_starts(session, config.practice, len(trials), generator),
        )

    kinds: list[tuple[int, BatchPolicy]] = [(config.random_episodes, random)]
    if config.scripted_episodes:
        kinds.append((config.scripted_episodes, ScriptedPolicy(session, 0.8, generator)))
    for count, policy in kinds:
        end = tried + count
        while tried < end:
            add_episodes(session, replay, run(policy, end - tried), rules, generator)
    kept = 0
    last = tried + _MOST_TRIES * config.lucky_episodes
    with ProgressBar(
        total=config.lucky_episodes,
        desc="teacher: random actions that move the object",
        unit="episode",
        disable=not config.lucky_episodes,
    ) as bar:
        while kept < config.lucky_episodes:
            if tried >= last:
                raise RunError(
                    f"{last} episodes of random actions moved the object in too few of them for "
                    f"teacher.lucky_episodes={config.lucky_episodes}; give the task card practice "
                    "starts nearer to the object, or ask for fewer"
                )
            episodes = run(random, len(environments))
            moved = np.flatnonzero(object_moved(episodes, session.contract)).tolist()
            if moved := moved[: config.lucky_episodes - kept]:
                add_episodes(session, replay, episodes.chosen(moved), rules, generator)
                kept += len(moved)
                bar.update(len(moved))


def add_episodes(
    session: Session,
    replay: Replay,
    episodes: Episodes,
    rules: TaskRules,
    generator: np.random.Generator,
) -> None:
    """Adds episodes, and what they are worth in hindsight."""
    replay.add(episodes)
    share = session.config.teacher.hindsight
    again = in_hindsight(episodes, rules, share, generator)
    if again is not None:
        replay.add(again)


def practice_starts(
    session: Session, share: float, count: int, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Which of `count` episodes begin at one of the task card's practice starts.

    Args:
        session: the task and its settings.
        share: how many of them are to, in [0, 1].
        count: N.
        generator: draws them.

    Returns:
        (N,); all False where the card has no practice starts.
    """
    if not session.card.practice:
        return np.zeros(count, bool)
    return generator.random(count) < share


def draw_batch(session: Session, replay: Replay, generator: np.random.Generator) -> Batch:
    """This process's rows of a batch of windows."""
    config = session.config.teacher
    arrays = replay.sample(config.batch, config.length, generator)
    return Batch(*(session.tensor(session.processes.rows(array)) for array in arrays))


def teacher_episodes(
    session: Session,
    policy: BatchPolicy,
    *,
    seed: int,
    episodes: int,
    steps: int,
    first: int = 0,
    practice: float = 0.0,
    description: str | None = None,
    watch: Callable[[list[TaskEnv]], None] | None = None,
) -> Episodes:
    """`episodes` episodes in blocks of side-by-side environments.

    The share `practice` of them begins at one of the task card's practice starts. `watch` is called
    after every step with the environments of the block.
    """
    chosen = np.random.default_rng(seed).random(first + episodes) < practice
    chosen &= bool(session.card.practice)
    block = min(episodes, session.config.collection.environments)
    environments = make_environments(session.card, block, steps)
    parts = []
    with ProgressBar(
        total=episodes, desc=description, unit="episode", disable=description is None
    ) as bar:
        for start in range(0, episodes, block):
            trials = first + np.arange(start, min(start + block, episodes))
            active = environments[: len(trials)]
            parts.append(
                run_episodes(
                    active,
                    policy,
                    seed=seed,
                    trials=trials,
                    steps=steps,
                    practice=chosen[trials],
                    after_step=None if watch is None else functools.partial(watch, active),
                )
            )
            bar.update(len(trials))
    return Episodes.concatenate(parts)


def measured_episodes(
    session: Session, policy: BatchPolicy, *, seed: int, episodes: int
) -> tuple[Episodes, NDArray[np.float64]]:
    """Full episodes from the home pose, and what the arm pressed with.

    Returns:
        The episodes; the largest contact force of each, newtons, (N,).
    """
    steps = session.contract.episode_steps
    forces: list[list[float]] = []

    def feel(environments: list[TaskEnv]) -> None:
        forces.append([contact_force(environment) for environment in environments])

    measured = teacher_episodes(
        session, policy, seed=seed, episodes=episodes, steps=steps, watch=feel
    )
    blocks = [np.max(forces[k : k + steps], axis=0) for k in range(0, len(forces), steps)]
    return measured, np.concatenate(blocks)
