"""What the episodes of a diagnosis have in common when they fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twist_policy.contract import PolicyContract
from twist_policy.statistics import Interval, wilson_interval
from twist_sim.tasks import TaskRules
from twist_training.diagnosis.episodes import Episode

FILTER_START = 5
"""First steps, in which the filter still gathers what it sees; errors are counted after them."""

TOUCHED = 0.01
"""An object that moved farther than this was touched, metres."""

CAMERA = (
    "camera right, cm",
    "camera down, cm",
    "camera forward, cm",
    "camera pitch, deg",
    "camera yaw, deg",
    "camera roll, deg",
    "focal scale",
)


@dataclass(frozen=True)
class CoordinateError:
    """Error of one number of the belief, in its SI unit times 100 for lengths (cm).

    Attributes:
        name: of the number.
        solved: root mean square over solved episodes; NaN without any.
        failed: over failed ones.
        bias: standard deviation between episodes of an episode's mean error.
        flicker: root mean square of what is left within an episode.
        camera: share of the bias' variance that the camera's displacement explains linearly,
            adjusted for the number of its parameters; may be a little below 0 when it is nothing.
    """

    name: str
    solved: float
    failed: float
    bias: float
    flicker: float
    camera: float


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of a look's parameter with errors and with the outcome.

    Attributes:
        name: of the parameter.
        object_error: with the mean error of the believed object position.
        distance: with the final distance.
        surprise: with the mean surprise.
    """

    name: str
    object_error: float
    distance: float
    surprise: float


@dataclass(frozen=True)
class Behaviour:
    """What the policy did, apart from what it believed.

    Attributes:
        episodes: how many.
        success: rate at the end.
        reached: share in which the rule held at some moment.
        left: share in which it held and then no longer did, at least once.
        untouched: share in which the object was never moved.
        failed_untouched, failed_left, failed_other: how the failed episodes divide.
        first_reached: median step of the first success; NaN without any.
        tool_after: median speed of the tool after that, metres per step.
        object_after: median path of the object after that, metres.
    """

    episodes: int
    success: Interval
    reached: float
    left: float
    untouched: float
    failed_untouched: int
    failed_left: int
    failed_other: int
    first_reached: float
    tool_after: float
    object_after: float


@dataclass(frozen=True)
class Diagnosis:
    """All of it.

    Attributes:
        behaviour: see `Behaviour`.
        coordinates: of every number of the privileged state.
        correlations: largest with the final distance first.
        chance: absolute rank correlation that pure chance exceeds once in 20 for this many
            episodes and one parameter.
        error_by_time: mean error of the believed object, metres, solved and failed, (T,) each.
        object_errors: of each episode, metres.
        distances: of each episode, metres.
    """

    behaviour: Behaviour
    coordinates: tuple[CoordinateError, ...]
    correlations: tuple[Correlation, ...]
    chance: float
    error_by_time: dict[str, NDArray[np.float64]]
    object_errors: NDArray[np.float64]
    distances: NDArray[np.float64]


def diagnose(episodes: Sequence[Episode], contract: PolicyContract, rules: TaskRules) -> Diagnosis:
    """Puts the errors of the episodes against everything that may explain them.

    Raises:
        ValueError: there are fewer than three episodes.
    """
    if len(episodes) < 3:
        raise ValueError(f"a diagnosis needs three episodes or more, found {len(episodes)}")
    solved = np.array([episode.success for episode in episodes])
    errors = [episode.belief - episode.state for episode in episodes]
    where = contract.state_slice("object_position")
    object_errors = np.array(
        [np.linalg.norm(e[FILTER_START:, where], axis=1).mean() for e in errors]
    )
    distances = np.array([episode.distance for episode in episodes])
    return Diagnosis(
        behaviour=_behaviour(episodes, contract, rules),
        coordinates=_coordinates(episodes, errors, solved, contract),
        correlations=_correlations(episodes, object_errors, distances),
        chance=1.96 / np.sqrt(len(episodes) - 1),
        error_by_time={
            "solved": _by_time([e[:, where] for e, s in zip(errors, solved, strict=True) if s]),
            "failed": _by_time([e[:, where] for e, s in zip(errors, solved, strict=True) if not s]),
        },
        object_errors=object_errors,
        distances=distances,
    )


def _behaviour(
    episodes: Sequence[Episode], contract: PolicyContract, rules: TaskRules
) -> Behaviour:
    where, tool = contract.state_slice("object_position"), contract.state_slice("ee_position")
    reached, left, untouched, first, tool_after, object_after = [], [], [], [], [], []
    for episode in episodes:
        holds = np.array([rules.success(state) for state in episode.state])
        start = episode.state[0, where]
        moved = np.linalg.norm(episode.state[:, where] - start, axis=1)
        reached.append(bool(holds.any()) or episode.success)
        left.append(bool((holds[:-1] & ~holds[1:]).any()) or (holds[-1] and not episode.success))
        untouched.append(bool(moved.max() < TOUCHED))
        if holds.any() and (begin := int(np.argmax(holds))) < len(holds) - 2:
            first.append(begin)
            tool_after.append(_path(episode.state[begin:, tool]) / (len(holds) - 1 - begin))
            object_after.append(_path(episode.state[begin:, where]))
    solved = np.array([episode.success for episode in episodes])
    gone, still = ~solved & np.array(left), ~solved & np.array(untouched)
    return Behaviour(
        episodes=len(episodes),
        success=wilson_interval(int(solved.sum()), len(episodes)),
        reached=float(np.mean(reached)),
        left=float(np.mean(left)),
        untouched=float(np.mean(untouched)),
        failed_untouched=int(still.sum()),
        failed_left=int(gone.sum()),
        failed_other=int((~solved & ~gone & ~still).sum()),
        first_reached=_median(first),
        tool_after=_median(tool_after),
        object_after=_median(object_after),
    )


def _path(positions: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(np.diff(positions, axis=0), axis=1).sum())


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else float("nan")


def _coordinates(
    episodes: Sequence[Episode],
    errors: list[NDArray[np.float64]],
    solved: NDArray[np.bool_],
    contract: PolicyContract,
) -> tuple[CoordinateError, ...]:
    counted = [e[FILTER_START:] for e in errors]
    means = np.array([e.mean(axis=0) for e in counted])
    variances = np.array([e.var(axis=0) for e in counted])
    squares = np.array([(e**2).mean(axis=0) for e in counted])
    camera = np.array([[episode.parameters[name] for name in CAMERA] for episode in episodes])
    result = []
    for index, (name, unit) in enumerate(_names(contract)):
        scale = 100.0 if unit == "m" else 1.0
        result.append(
            CoordinateError(
                name=name,
                solved=scale * _root_mean(squares[solved, index]),
                failed=scale * _root_mean(squares[~solved, index]),
                bias=scale * float(means[:, index].std()),
                flicker=scale * _root_mean(variances[:, index]),
                camera=_explained(camera, means[:, index]),
            )
        )
    return tuple(result)


def _names(contract: PolicyContract) -> list[tuple[str, str]]:
    names = []
    for item in contract.state:
        axes = "xyz" if item.unit == "m" and item.size > 1 else "01234567"
        for index in range(item.size):
            part = f" {axes[index]}" if item.size > 1 else ""
            names.append((item.name.replace("_", " ") + part, item.unit))
    return names


def _root_mean(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(values.mean())) if values.size else float("nan")


def _explained(inputs: NDArray[np.float64], output: NDArray[np.float64]) -> float:
    """Adjusted R squared of a linear fit; NaN with nothing to explain or too little data."""
    count, parameters = inputs.shape
    free = count - parameters - 1
    if free < 1 or output.std() < 1e-12:
        return float("nan")
    design = np.column_stack([np.ones(count), inputs - inputs.mean(axis=0)])
    coefficients, *_ = np.linalg.lstsq(design, output, rcond=None)
    left = float(((output - design @ coefficients) ** 2).sum())
    total = float(((output - output.mean()) ** 2).sum())
    return 1.0 - left / total * (count - 1) / free


def _correlations(
    episodes: Sequence[Episode],
    object_errors: NDArray[np.float64],
    distances: NDArray[np.float64],
) -> tuple[Correlation, ...]:
    surprise = np.array([episode.surprise[FILTER_START:].mean() for episode in episodes])
    found = []
    for name in episodes[0].parameters:
        values = np.array([episode.parameters[name] for episode in episodes])
        found.append(
            Correlation(
                name,
                rank_correlation(values, object_errors),
                rank_correlation(values, distances),
                rank_correlation(values, surprise),
            )
        )
    return tuple(sorted(found, key=lambda item: -abs(item.distance)))


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's rho, ties with their mean rank; 0 when either does not vary."""
    a, b = _ranks(first), _ranks(second)
    if a.std() == 0.0 or b.std() == 0.0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: NDArray[np.float64] = (ends - (counts - 1) / 2.0)[group]
    return ranks


def _by_time(errors: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean norm at each step; episodes that ended early count until they did."""
    length = max((len(e) for e in errors), default=0)
    total, count = np.zeros(length), np.zeros(length)
    for error in errors:
        total[: len(error)] += np.linalg.norm(error, axis=1)
        count[: len(error)] += 1
    return total / np.maximum(count, 1)
