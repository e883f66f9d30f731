"""Where a trial starts, drawn from (task, seed, trial) and nothing else."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from twist_sim.task_card import TaskCard, TaskCardError

_MOST_DRAWS = 10_000


@dataclass(frozen=True)
class Layout:
    """Start of one trial; metres and radians in the base frame.

    Attributes:
        object_position: centre of the object.
        object_yaw: about +z.
        goal_position: centre of the goal; the object's own place on the table where the task
            has no goal there.
    """

    object_position: tuple[float, float, float]
    object_yaw: float
    goal_position: tuple[float, float, float]


@dataclass(frozen=True)
class ObjectDynamics:
    """What a trial's object is like: mass (kg) and sliding friction against the table."""

    mass: float
    friction: float


def trial_generator(task: str, seed: int, trial: int, stream: str) -> np.random.Generator:
    """A random generator for one aspect of one trial.

    Args:
        task: name of the task.
        seed: seed of the evaluation or training run, >= 0.
        trial: number of the trial, >= 0.
        stream: the aspect, e.g. ``layout``; different streams are independent.

    Raises:
        ValueError: seed or trial is negative.
    """
    if seed < 0 or trial < 0:
        raise ValueError(f"seed and trial must not be negative, found {seed} and {trial}")
    digest = hashlib.sha256(f"{task}/{stream}".encode()).digest()
    words = [int.from_bytes(digest[index : index + 4], "little") for index in range(0, 16, 4)]
    return np.random.default_rng(np.random.SeedSequence([*words, seed, trial]))


def draw_layout(card: TaskCard, seed: int, trial: int) -> Layout:
    """Draws where object and goal of a trial are; never a layout that is already solved.

    Raises:
        ValueError: seed or trial is negative.
        TaskCardError: the card's regions hardly ever yield a layout.
    """
    generator = trial_generator(card.task, seed, trial, "layout")
    return _draw_layout(card, generator, card.layout.distance)


def _draw_layout(
    card: TaskCard,
    generator: np.random.Generator,
    distances: tuple[float, float] | None,
    margin: float = 0.0,
    yaws: tuple[float, float] | None = None,
) -> Layout:
    regions = card.layout
    lower = np.maximum(np.array(regions.object_lower) - margin, card.workspace.lower[:2])
    upper = np.minimum(np.array(regions.object_upper) + margin, card.workspace.upper[:2])
    for _ in range(_MOST_DRAWS):
        object_xy = generator.uniform(lower, upper)
        goal_xy = object_xy
        if regions.goal_lower is not None and regions.goal_upper is not None:
            goal_xy = generator.uniform(regions.goal_lower, regions.goal_upper)
        yaw = float(generator.uniform(*(yaws or regions.yaw)))
        distance = math.hypot(*(goal_xy - object_xy))
        if distances is None or distances[0] <= distance <= distances[1]:
            return Layout(
                object_position=(float(object_xy[0]), float(object_xy[1]), card.object.size / 2),
                object_yaw=yaw,
                goal_position=(float(goal_xy[0]), float(goal_xy[1]), 0.0),
            )
    raise TaskCardError(
        f"{card.source}: layout: none of {_MOST_DRAWS} draws had a start distance within "
        f"{distances}; widen the sampling regions or the distance range"
    )


Fingers = Literal["open", "closed", "holding"]
"""Of a hand at the start of an episode: closed with nothing between them, or around the object."""


@dataclass(frozen=True)
class Practice:
    """A start of a training episode that is not from home.

    Attributes:
        name: of the card's practice start.
        layout: where object and goal are.
        tool_position: of the tool tip, metres, base frame; inside the workspace.
        fingers: of the hand; open where there is none.
    """

    name: str
    layout: Layout
    tool_position: tuple[float, float, float]
    fingers: Fingers


def draw_practice(card: TaskCard, seed: int, trial: int) -> Practice:
    """Draws one of the card's practice starts and a layout for it.

    Starts near the task's end need no demonstrations, and make a value of the end known from
    where longer ways can be learned (reverse curriculum: Florensa et al. 2017).

    Raises:
        ValueError: the card has none, or seed or trial is negative.
    """
    if not card.practice:
        raise ValueError(f"{card.source}: the card has no practice starts")
    generator = trial_generator(card.task, seed, trial, "practice")
    weights = np.array([start.weight for start in card.practice])
    start = card.practice[int(generator.choice(len(weights), p=weights / weights.sum()))]
    distances = start.distance or card.layout.distance
    layout = _draw_layout(card, generator, distances, start.margin, start.yaw)
    fingers: Fingers = "closed" if start.closed else "open"
    if start.held_height is not None:
        x, y, _ = layout.object_position
        height = float(generator.uniform(*start.held_height))
        layout = Layout((x, y, height), float(generator.uniform(-0.05, 0.05)), (x, y, 0.0))
        fingers = "holding"
    ahead = np.array(layout.goal_position[:2]) - np.array(layout.object_position[:2])
    norm = float(np.linalg.norm(ahead))
    cosine, sine = (ahead / norm).tolist() if norm > 0.0 else (1.0, 0.0)
    forward, left, up = generator.uniform(start.tool_lower, start.tool_upper).tolist()
    offset = np.array([forward * cosine - left * sine, forward * sine + left * cosine, up])
    tool = np.clip(
        np.array(layout.object_position) + offset, card.workspace.lower, card.workspace.upper
    )
    x, y, z = tool.tolist()
    return Practice(start.name, layout, (x, y, z), fingers)


def draw_dynamics(card: TaskCard, seed: int, trial: int) -> ObjectDynamics:
    """Draws a trial's object mass and friction from the card's ranges.

    Raises:
        ValueError: seed or trial is negative.
    """
    generator = trial_generator(card.task, seed, trial, "dynamics")
    return ObjectDynamics(
        mass=float(generator.uniform(*card.object.mass)),
        friction=float(generator.uniform(*card.object.friction)),
    )
