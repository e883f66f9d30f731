"""From trials to points of a curve, and what surprise says about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twist_policy.statistics import (
    Interval,
    area_under_roc,
    bootstrap_interval,
    paired_difference,
    wilson_interval,
)
from twist_training.robustness.factors import NOMINAL, Factor, Level
from twist_training.rollout import CONTACT_FORCE_LIMIT
from twist_training.storage.result_table import Row

_LEVEL, _SURPRISE, _FORCE = "level", "surprise_mean", "contact_force"


@dataclass(frozen=True)
class Point:
    """One level of one factor.

    Attributes:
        level: see `Level`.
        trials: how many.
        success: rate, with Wilson's 95 % interval.
        lost: by how much success is lower than in the nominal world on the same trials.
        surprise: mean over the trials of their mean surprise, nats.
        largest_surprise: mean over the trials of their largest surprise, nats.
        detection: AUROC of the mean surprise for telling these trials from nominal ones.
        object_error: mean error of the believed object position, metres.
        pressed: trials whose largest contact force is above `CONTACT_FORCE_LIMIT`; None where the
            table is of a version that did not measure it.
    """

    level: Level
    trials: int
    success: Interval
    lost: Interval
    surprise: Interval
    largest_surprise: Interval
    detection: Interval
    object_error: float
    pressed: int | None


@dataclass(frozen=True)
class Curve:
    """All points of a factor that have trials.

    Attributes:
        factor: see `Factor`.
        points: in the order of the axis.
        detection: AUROC of all its trials in untrained worlds against the nominal ones; NaN when
            every level was trained.
    """

    factor: Factor
    points: tuple[Point, ...]
    detection: Interval


@dataclass(frozen=True)
class LeadTime:
    """Which comes first on the way out of the trained range: surprise or failure.

    Attributes:
        factor: name of the factor.
        direction: ``up`` or ``down`` the axis, or the level's name where the axis has names.
        surprised_at: first level whose surprise tells it from nominal (the interval of the AUROC
            lies above 0.5); None when there is none.
        failing_at: first level whose success is lower than nominal on the same trials (the 95 %
            interval of the difference excludes 0); None when there is none.
    """

    factor: str
    direction: str
    surprised_at: str | None
    failing_at: str | None
    _order: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """In words."""
        if self.failing_at is None:
            return "neither shown" if self.surprised_at is None else "surprise alone"
        if self.surprised_at is None:
            return "success alone"
        ahead = self._order.index(self.failing_at) - self._order.index(self.surprised_at)
        if ahead > 0:
            return "surprise first"
        return "same level" if ahead == 0 else "success first"


@dataclass(frozen=True)
class Summary:
    """Everything a report shows.

    Attributes:
        nominal: the point that all others are compared with.
        curves: of all factors but the nominal one.
        pooled: AUROC of all trials in untrained worlds against the nominal ones.
        pooled_largest: the same with each trial's largest surprise.
        failures: AUROC of the mean surprise for telling failed trials from successful ones, over
            all worlds.
        lead_times: one for each way out of a trained range.
    """

    nominal: Point
    curves: tuple[Curve, ...]
    pooled: Interval
    pooled_largest: Interval
    failures: Interval
    lead_times: tuple[LeadTime, ...]


def summarise(rows: Sequence[Row], factors: Sequence[Factor]) -> Summary:
    """Turns the rows of a results table into curves.

    Args:
        rows: of the runner; those of unknown factors or levels are left out.
        factors: as they were measured.

    Raises:
        ValueError: no row is nominal.
    """
    by_point: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_point.setdefault((row["factor"], row[_LEVEL]), []).append(row)
    nominal_rows = by_point.get((NOMINAL.name, NOMINAL.levels[0].label), [])
    if not nominal_rows:
        raise ValueError("no trial of the nominal world: nothing to compare with")
    curves, outside = [], []
    for factor in factors:
        if factor.name == NOMINAL.name:
            continue
        found = [(level, by_point.get((factor.name, level.label), [])) for level in factor.levels]
        points = tuple(_point(level, part, nominal_rows) for level, part in found if part)
        untrained = [row for level, part in found if not level.trained for row in part]
        outside += untrained
        if points:
            curves.append(Curve(factor, points, _detection(untrained, nominal_rows)))
    # A world that is a point of two curves is counted once.
    everything = list({_identity(row): row for row in rows}.values())
    failed = [row for row in everything if not row["success"]]
    solved = [row for row in everything if row["success"]]
    return Summary(
        nominal=_point(NOMINAL.levels[0], nominal_rows, nominal_rows),
        curves=tuple(curves),
        pooled=_detection(outside, nominal_rows),
        pooled_largest=_detection(outside, nominal_rows, "surprise_max"),
        failures=_detection(failed, solved),
        lead_times=tuple(item for curve in curves for item in _lead_times(curve)),
    )


def _point(level: Level, rows: list[Row], nominal: list[Row]) -> Point:
    successes = sum(row["success"] for row in rows)
    return Point(
        level=level,
        trials=len(rows),
        success=wilson_interval(successes, len(rows)),
        lost=_lost(rows, nominal),
        surprise=bootstrap_interval(_column(rows, _SURPRISE)),
        largest_surprise=bootstrap_interval(_column(rows, "surprise_max")),
        detection=_detection(rows, nominal),
        object_error=float(_column(rows, "object_error").mean()),
        pressed=_pressed(rows),
    )


def _pressed(rows: list[Row]) -> int | None:
    if any(_FORCE not in row for row in rows):
        return None
    return sum(row[_FORCE] > CONTACT_FORCE_LIMIT for row in rows)


def _lost(rows: list[Row], nominal: list[Row]) -> Interval:
    here = {_trial(row): row["success"] for row in rows}
    pairs = [
        (bool(row["success"]), bool(here[_trial(row)])) for row in nominal if _trial(row) in here
    ]
    counts = Counter(pairs)
    return paired_difference(
        both=counts[True, True],
        only_first=counts[True, False],
        only_second=counts[False, True],
        neither=counts[False, False],
    )


def _detection(positive: list[Row], negative: list[Row], score: str = _SURPRISE) -> Interval:
    return area_under_roc(
        _column(positive, score),
        _column(negative, score),
        positive_trials=[_trial_number(row) for row in positive],
        negative_trials=[_trial_number(row) for row in negative],
    )


def _lead_times(curve: Curve) -> list[LeadTime]:
    points = curve.points
    if curve.factor.named:
        return [
            _lead_time(curve.factor.name, point.level.label, (point,))
            for point in points
            if not point.level.trained
        ]
    trained = [p.level.value for p in points if p.level.trained]
    middle = sum(trained) / len(trained) if trained else points[0].level.value - 1.0
    ways = {
        "down": tuple(
            p for p in reversed(points) if not p.level.trained and p.level.value < middle
        ),
        "up": tuple(p for p in points if not p.level.trained and p.level.value > middle),
    }
    return [_lead_time(curve.factor.name, way, found) for way, found in ways.items() if found]


def _lead_time(factor: str, direction: str, outwards: tuple[Point, ...]) -> LeadTime:
    surprised = (p.level.label for p in outwards if p.detection.low > 0.5)
    failing = (p.level.label for p in outwards if p.lost.low > 0.0)
    return LeadTime(
        factor,
        direction,
        next(surprised, None),
        next(failing, None),
        tuple(p.level.label for p in outwards),
    )


def _column(rows: list[Row], name: str) -> NDArray[np.float64]:
    return np.array([row[name] for row in rows], dtype=np.float64)


def _trial(row: Row) -> tuple[int, int]:
    return row["seed"], row["trial"]


def _trial_number(row: Row) -> int:
    # Seeds and trials as one number, since rows are resampled by trial.
    return int(row["seed"]) * 1_000_000 + int(row["trial"])


def _identity(row: Row) -> tuple[object, ...]:
    return (*_trial(row), row["success"], row["distance"], row[_SURPRISE])
