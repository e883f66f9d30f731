"""What is wrong with settings, found before a run starts rather than in its last hour."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from twist_sim.typed_yaml import TaskCardError
from twist_training.modules.networks import edge_after_convolutions

if TYPE_CHECKING:
    from twist_sim.task_card import TaskCard
    from twist_training.configuration import TrainingConfig

_ABOVE_ZERO = {
    "teacher.rssm": {"deterministic", "hidden", "groups", "classes"},
    "teacher": {
        *("encoder_width", "embedding", "head_width", "head_layers", "observation_std"),
        *("environments", "episode_steps", "batch", "length", "horizon", "imagination_starts"),
        *("slow_critic_every", "evaluate_every", "evaluation_episodes"),
        *("model_lr", "actor_lr", "critic_lr", "clip"),
    },
    "collection": {"episodes", "episode_steps", "environments", "looks"},
    "student": {"depth"},
    "distillation": {
        *("length", "horizon", "batch", "imagination_starts", "warmup_batch"),
        *("evaluate_every", "evaluation_episodes", "lr", "warmup_lr", "clip"),
    },
    "evaluation": {"episodes"},
}
"""Settings of which there has to be one at least, without which nothing is learned, or which
something is divided by."""

_SHARES = {
    "teacher": {
        *("discount", "lambda_", "kl_balance", "final_lr"),
        *("practice", "final_practice", "refined_practice", "hindsight", "moving"),
    },
    "collection": {"random_fraction", "practice"},
}
"""Settings that are a part of something; `teacher.target_success` may be above 1, to never stop."""

_CHOICES = {"precision": ("auto", "float32", "bfloat16"), "device": ("cpu", "cuda")}


def problems_of(config: TrainingConfig) -> list[str]:
    """Everything that is wrong with these settings, for a person; empty when nothing is."""
    return [*_of_the_machine(config), *_of_numbers(config), *_of_sizes(config)]


def problems_with_card(config: TrainingConfig, card: TaskCard) -> Iterator[str]:
    """What of these settings does not fit the task, for a person."""
    from twist_sim.kinematics import check_reach  # MuJoCo takes a while to import
    from twist_sim.scripted import is_scripted

    distillation, student = config.distillation, config.student
    if config.teacher.scripted_episodes and not is_scripted(card):
        yield (
            f"teacher.scripted_episodes is {config.teacher.scripted_episodes}, but nothing is "
            f"scripted for the rules {card.rules!r}; use teacher.scripted_episodes=0"
        )
    sizes = {state_field.name: state_field.size for state_field in card.task_rules.fields}
    needed = {"ee_position": 3, "object_position": 3}
    if card.goal is not None:
        needed["goal_position"] = 2
    for name, size in needed.items():
        if sizes.get(name) != size:
            yield (
                f"training needs a field {name} of {size} numbers in {card.task}'s rules, which "
                f"have {sizes}; add it to fields and to privileged_state"
            )
    try:
        check_reach(card)
    except TaskCardError as error:
        yield str(error)
    # The student's own episodes have the card's length, without the state after the last action.
    if distillation.rounds and distillation.length > card.episode_steps:
        yield (
            f"distillation.length {distillation.length} is longer than the student's own episodes, "
            f"which have the {card.episode_steps} steps of {card.task}'s episode_steps; use "
            f"{card.episode_steps} or less, or distillation.student_rounds=0"
        )
    if edge_after_convolutions(card.image.size, student.padding) < 1:
        yield (
            f"student.padding {student.padding} leaves nothing of {card.task}'s images of "
            f"image.size {card.image.size} after the student's convolutions; use a larger one of "
            "the two"
        )


def _of_the_machine(config: TrainingConfig) -> Iterator[str]:
    for name, choices in _CHOICES.items():
        value = getattr(config, name)
        if value not in choices:
            yield f"{name} is {value!r}; use {', '.join(choices[:-1])} or {choices[-1]}"
    if config.cuda_graph and config.device != "cuda":
        yield f"cuda_graph is true with device {config.device}; it needs device=cuda"
    if not 0 <= config.seed < 10_000:
        yield f"seed is {config.seed}; use 0 to 9999"
    for name in ("processes", "threads"):
        if getattr(config, name) < 1:
            yield f"{name} is {getattr(config, name)}; use 1 or more"


def _of_numbers(config: TrainingConfig) -> Iterator[str]:
    for name, value in _numbers(config):
        section, _, item = name.rpartition(".")
        if not math.isfinite(value):
            yield f"{name} is {value}; it must be a finite number"
        elif value < 0 and section:
            yield f"{name} is {value}; it must not be negative"
        elif value == 0 and item in _ABOVE_ZERO.get(section, ()):
            yield f"{name} is {value}; it must be above 0"
        elif value > 1 and item in _SHARES.get(section, ()):
            yield f"{name} is {value}; it is a share, use 0 to 1"


def _numbers(settings: Any, prefix: str = "") -> Iterator[tuple[str, int | float]]:
    """Every number, by the name that it has on the command line."""
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if dataclasses.is_dataclass(value):
            yield from _numbers(value, f"{prefix}{item.name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield prefix + item.name, value


def _of_sizes(config: TrainingConfig) -> Iterator[str]:
    """What does not fit together."""
    teacher, collection, distillation = config.teacher, config.collection, config.distillation
    if teacher.length > teacher.episode_steps + 1:
        yield f"teacher.length {teacher.length} is longer than an episode ({teacher.episode_steps})"
    shortest = min(collection.episode_steps, teacher.episode_steps)
    if distillation.length > shortest + 1:
        yield (
            f"distillation.length {distillation.length} is longer than the shortest episode "
            f"({shortest})"
        )
    if teacher.imagination_starts > teacher.batch * teacher.length:
        yield "teacher.imagination_starts exceeds teacher.batch x teacher.length"
    if distillation.imagination_starts > distillation.batch * distillation.length:
        yield "distillation.imagination_starts exceeds its batch x length"
    if teacher.scripted_episodes + teacher.random_episodes < 1:
        yield "the replay needs at least one scripted or random episode to start from"
    if collection.episodes and (
        round(collection.episodes * collection.random_fraction) >= collection.episodes
    ):
        yield (
            f"collection.random_fraction {collection.random_fraction} of "
            f"{collection.episodes} episodes leaves none for the teacher"
        )
    if distillation.rounds >= max(1, distillation.steps):
        yield (
            f"distillation.student_rounds {distillation.rounds} do not fit between "
            f"{distillation.steps} distillation.steps; 0 switches them off"
        )
