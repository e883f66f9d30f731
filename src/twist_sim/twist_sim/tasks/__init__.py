"""Task rules: what makes a task this task. Cards name their rules; the registry finds them."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from twist_policy.contract import StateField
from twist_sim.tasks.block_lift import BlockLiftRules
from twist_sim.tasks.block_push import BlockPushRules
from twist_sim.typed_yaml import TaskCardError

if TYPE_CHECKING:
    from twist_sim.task_card import TaskCard

__all__ = ["SceneState", "TaskRules", "check_rules", "make_rules"]


class SceneState(Protocol):
    """What rules may look at: positions in the base frame, metres; quaternion (w, x, y, z)."""

    @property
    def tool_position(self) -> NDArray[np.float64]:
        """Tool tip, shape (3,)."""

    @property
    def object_position(self) -> NDArray[np.float64]:
        """Object centre, shape (3,)."""

    @property
    def object_quaternion(self) -> NDArray[np.float64]:
        """Object orientation, shape (4,)."""

    @property
    def goal_position(self) -> NDArray[np.float64]:
        """Goal centre, shape (3,)."""

    @property
    def finger_width(self) -> float:
        """Distance between the finger pads, metres; 0 without a hand."""

    @property
    def grasped(self) -> bool:
        """Whether the closed hand holds the object."""

    @property
    def gripper_closed(self) -> bool:
        """Whether the last gripper command was to close."""

    @property
    def gripper_busy(self) -> float:
        """Share of the last gripper command's time that is left, in [0, 1]."""


class TaskRules(Protocol):
    """Judges a task from the privileged state alone.

    ``fields`` names, orders and scales the numbers of that state; all are in SI units.
    """

    @property
    def fields(self) -> tuple[StateField, ...]:
        """The groups of numbers in the privileged state, in order."""

    def privileged_state(self, scene: SceneState) -> NDArray[np.float64]:
        """The state the teacher sees, SI units, shape (state_size,)."""

    def reward(self, state: NDArray[np.floating]) -> float:
        """Dense reward of being in `state`."""

    def success(self, state: NDArray[np.floating]) -> bool:
        """Whether the task is solved in `state`."""

    def distance(self, state: NDArray[np.floating]) -> float:
        """How far the object is from the goal as the success rule counts it, metres."""


@runtime_checkable
class MovableGoal(Protocol):
    """What rules may have besides, whose goal is a place on the table: hindsight."""

    def with_goal_at_object(
        self, states: NDArray[np.floating], instant: int
    ) -> NDArray[np.floating]:
        """What an episode's states (T + 1, S) would be with the goal where the object is then."""


_REGISTRY: dict[str, Callable[[TaskCard], TaskRules]] = {
    "block_lift": BlockLiftRules,
    "block_push": BlockPushRules,
}


def make_rules(card: TaskCard) -> TaskRules:
    """The rules that `card` names: a shipped one's name, or ``module:Class`` of your own.

    A module that lies beside the card is found there.

    Raises:
        TaskCardError: no such rules, or they refuse the card's parameters.
    """
    if card.rules in _REGISTRY:
        return _REGISTRY[card.rules](card)
    module, separator, name = card.rules.partition(":")
    if not separator:
        raise TaskCardError(
            f"{card.source}: rules: expected one of {sorted(_REGISTRY)} or module:Class, found "
            f"{card.rules!r}"
        )
    try:
        own: Callable[[TaskCard], TaskRules] = getattr(_import(module, card.source), name)
    except TaskCardError:
        raise
    except Exception as error:  # the file may hold anything
        raise TaskCardError(
            f"{card.source}: rules: cannot import {card.rules!r}: {type(error).__name__}: {error}"
        ) from error
    try:
        return own(card)
    except TaskCardError:
        raise
    except Exception as error:
        raise TaskCardError(
            f"{card.source}: rules: {card.rules!r} does not take this card: "
            f"{type(error).__name__}: {error}"
        ) from error


@dataclass(frozen=True)
class _Start:
    """A `SceneState`: the tool at home, object and goal in the middle of their regions."""

    tool_position: NDArray[np.float64]
    object_position: NDArray[np.float64]
    goal_position: NDArray[np.float64]
    object_quaternion: NDArray[np.float64] = field(
        default_factory=lambda: np.array([1.0, 0.0, 0.0, 0.0])
    )
    finger_width: float = 0.0
    grasped: bool = False
    gripper_closed: bool = False
    gripper_busy: float = 0.0


def check_rules(card: TaskCard) -> None:
    """Asks a card's rules about one state, as the environment will.

    Raises:
        TaskCardError: a member is missing, fails, or answers with something else than
            `TaskRules` says.
    """
    layout = card.layout
    middle = np.mean([layout.object_lower, layout.object_upper], axis=0)
    goal = middle
    if layout.goal_lower is not None and layout.goal_upper is not None:
        goal = np.mean([layout.goal_lower, layout.goal_upper], axis=0)
    hand = card.tool.hand
    start = _Start(
        np.array(card.home.tool_position),
        np.append(middle, card.object.size / 2),
        np.append(goal, 0.0),
        finger_width=0.0 if hand is None else hand.gripper.open_width,
    )
    rules, step = card.task_rules, "fields"
    try:
        size = sum(state_field.size for state_field in rules.fields)
        step = "privileged_state"
        state = rules.privileged_state(start)
        if not isinstance(state, np.ndarray) or state.shape != (size,):
            found = state.shape if isinstance(state, np.ndarray) else type(state).__name__
            raise ValueError(f"expected an array of the {size} numbers of fields, found {found}")
        if not np.isfinite(state).all():
            raise ValueError(f"expected finite numbers, found {state.tolist()}")
        for step in ("reward", "distance"):
            value = getattr(rules, step)(state)
            if not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
                raise ValueError(f"expected a finite number, found {value!r}")
        step = "success"
        solved = rules.success(state)
        if not isinstance(solved, (bool, np.bool_)):
            raise ValueError(f"expected True or False, found {solved!r}")
    except Exception as error:  # the class may be anybody's
        raise TaskCardError(
            f"{card.source}: rules: {step} of {card.rules!r}: {type(error).__name__}: {error}"
        ) from error


def _import(name: str, card: Path) -> ModuleType:
    beside = card.resolve().parent / f"{name}.py"
    if not beside.is_file():
        return importlib.import_module(name)
    # Not loaded by its path: worker processes get this list of folders, and find it by its name.
    if str(beside.parent) not in sys.path:
        sys.path.append(str(beside.parent))
    module = importlib.import_module(name)
    found = Path(module.__file__ or "").resolve()
    if found != beside:
        raise TaskCardError(
            f"{card}: rules: two modules have the name {name}: {found} comes first, {beside} is "
            "meant. Rename it"
        )
    return module
