"""What the numbers of an evaluation are worth: intervals, and a test of two policies.

Pure functions; fractions are in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval, all in the unit of the data.

    Attributes:
        estimate: the point estimate; NaN without data.
        low: lower end.
        high: upper end.
    """

    estimate: float
    low: float
    high: float

    @property
    def bounds(self) -> tuple[float, float]:
        """Lower and upper end."""
        return self.low, self.high


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a success rate (Wilson 1927; Brown, Cai, DasGupta 2001).

    Stays inside [0, 1] and is sensible for 0 of n and n of n, unlike the normal approximation.

    Args:
        successes: how many trials succeeded.
        trials: how many trials there were. Without trials the estimate is NaN, the interval [0, 1].
        confidence: coverage, in (0, 1).

    Raises:
        ValueError: the counts are impossible or the confidence is not in (0, 1).
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials is impossible")
    _require_confidence(confidence)
    if trials == 0:
        return Interval(math.nan, 0.0, 1.0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate = successes / trials
    denominator = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / denominator
    half = z / denominator * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials**2))
    # At 0 of n and n of n the bound is exactly 0 or 1; rounding must not move it.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return Interval(rate, low, high)


def bootstrap_interval(
    values: Sequence[float] | np.ndarray,
    statistic: Callable[[np.ndarray], float] = np.mean,  # type: ignore[assignment]
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of any statistic (Efron 1979); repeatable for one seed.

    Args:
        values: (N,) finite observations. Without any, everything is NaN.
        statistic: maps (N,) to a number, e.g. ``numpy.median``.
        confidence: coverage, in (0, 1).
        resamples: how often the observations are drawn anew.
        seed: of the resampling.

    Raises:
        ValueError: a value is not finite, or the confidence is not in (0, 1).
    """
    _require_confidence(confidence)
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1:
        raise ValueError(f"expected one row of numbers, found shape {data.shape}")
    if not np.all(np.isfinite(data)):
        raise ValueError("the bootstrap needs finite values; drop or count the missing ones first")
    if data.size == 0:
        return Interval(math.nan, math.nan, math.nan)
    generator = np.random.default_rng(seed)
    picks = generator.integers(0, data.size, size=(resamples, data.size))
    drawn = np.array([float(statistic(row)) for row in data[picks]])
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(float(statistic(data)), float(low), float(high))


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided exact McNemar test of two policies on the same trials (McNemar 1947).

    Only the trials on which the policies differ say anything: were the policies equally good, each
    such trial would fall to either with probability 1/2.

    Args:
        only_first: trials in which the first policy alone succeeded.
        only_second: trials in which the second alone succeeded.

    Returns:
        The probability of a split at least this uneven between equally good policies; 1 when the
        policies never differ.

    Raises:
        ValueError: a count is negative.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"counts must not be negative, found {only_first} and {only_second}")
    differing = only_first + only_second
    tail = sum(math.comb(differing, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**differing)


def paired_difference(
    both: int, only_first: int, only_second: int, neither: int, confidence: float = 0.95
) -> Interval:
    """How much more often the first policy succeeds than the second, on the same trials.

    Newcombe's interval for paired proportions from two Wilson intervals and their correlation
    (Newcombe 1998, Statistics in Medicine 17:2635, method 10).

    Args:
        both: trials in which both succeeded.
        only_first: in which the first alone did.
        only_second: in which the second alone did.
        neither: in which neither did.
        confidence: coverage, in (0, 1).

    Returns:
        Difference of the success rates in [-1, 1]; the estimate is NaN without trials.

    Raises:
        ValueError: a count is negative, or the confidence is not in (0, 1).
    """
    if min(both, only_first, only_second, neither) < 0:
        raise ValueError("counts must not be negative")
    trials = both + only_first + only_second + neither
    first = wilson_interval(both + only_first, trials, confidence)
    second = wilson_interval(both + only_second, trials, confidence)
    if trials == 0:
        return Interval(math.nan, -1.0, 1.0)
    margins = (both + only_first) * (only_second + neither)
    margins *= (both + only_second) * (only_first + neither)
    excess = float(both * neither - only_first * only_second)
    if excess > 0:
        excess = max(excess - trials / 2, 0.0)  # Newcombe's continuity correction
    correlation = excess / math.sqrt(margins) if margins else 0.0
    below, above = first.estimate - first.low, second.high - second.estimate
    low = math.sqrt(max(0.0, below**2 - 2 * correlation * below * above + above**2))
    above, below = first.high - first.estimate, second.estimate - second.low
    high = math.sqrt(max(0.0, above**2 - 2 * correlation * above * below + below**2))
    difference = (only_first - only_second) / trials
    return Interval(difference, max(-1.0, difference - low), min(1.0, difference + high))


def ratio_of_rates(
    successes: int,
    trials: int,
    other_successes: int,
    other_trials: int,
    confidence: float = 0.95,
) -> Interval:
    """How a success rate compares with another one, as a quotient.

    The interval is made of the two Wilson intervals (MOVER-R: Donner and Zou 2012, Statistical
    Methods in Medical Research 21:347), so that 100 of 100 over 100 of 100 is not certainly 1. On
    the same trials it is on the safe side.

    Args:
        successes: of the rate above the line.
        trials: of the rate above the line.
        other_successes: of the rate below it.
        other_trials: of the rate below it.
        confidence: coverage, in (0, 1).

    Returns:
        The quotient and its interval in [0, inf]; the estimate is NaN where the other never
        succeeds, or without trials.

    Raises:
        ValueError: the counts are impossible or the confidence is not in (0, 1).
    """
    above = wilson_interval(successes, trials, confidence)
    below = wilson_interval(other_successes, other_trials, confidence)
    if trials == 0 or other_successes == 0:
        return Interval(math.nan, 0.0, math.inf)
    p, q = above.estimate, below.estimate

    def bound(mine: float, other: float, sign: float) -> float:
        scale = other * (2 * q - other)
        if scale <= 0:  # next to nothing below the line
            return 0.0 if sign < 0 else math.inf
        inner = (p * q) ** 2 - mine * (2 * p - mine) * scale
        return max(0.0, (p * q + sign * math.sqrt(max(0.0, inner))) / scale)

    return Interval(p / q, bound(above.low, below.high, -1.0), bound(above.high, below.low, 1.0))


def area_under_roc(
    positives: Sequence[float] | np.ndarray,
    negatives: Sequence[float] | np.ndarray,
    *,
    positive_trials: Sequence[int] | np.ndarray | None = None,
    negative_trials: Sequence[int] | np.ndarray | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """How well a score tells two kinds of episodes apart (Hanley and McNeil 1982).

    The probability that a positive's score exceeds a negative's, ties counted half: 0.5 tells
    nothing, 1 everything. The interval is a percentile bootstrap. Episodes that share a trial
    number start alike, so trials are drawn anew rather than episodes, with all episodes of a trial.

    Args:
        positives: scores of what is to be detected, (P,).
        negatives: scores of the rest, (N,).
        positive_trials: trial number of each positive, (P,); each is a trial of its own when None.
        negative_trials: likewise, (N,).
        confidence: coverage, in (0, 1).
        resamples: how often the trials are drawn anew.
        seed: of the resampling.

    Returns:
        NaN throughout when either kind has no episode.

    Raises:
        ValueError: a score is not finite, a length does not fit, or trial numbers are given for
            one kind alone.
    """
    _require_confidence(confidence)
    above, below = (np.asarray(v, dtype=np.float64) for v in (positives, negatives))
    if above.ndim != 1 or below.ndim != 1 or not np.isfinite(np.r_[above, below]).all():
        raise ValueError("expected two rows of finite scores; drop or count the missing ones first")
    if not above.size or not below.size:
        return Interval(math.nan, math.nan, math.nan)
    if (positive_trials is None) != (negative_trials is None):
        raise ValueError("give the trial numbers of both kinds or of none")
    if positive_trials is None or negative_trials is None:
        trials = np.arange(above.size + below.size)
    else:
        trials = np.r_[np.asarray(positive_trials), np.asarray(negative_trials)]
    if trials.shape != (above.size + below.size,):
        raise ValueError(f"{above.size + below.size} scores need as many trials, not {trials.size}")
    wins = (above[:, None] > below) + 0.5 * (above[:, None] == below)
    _, group = np.unique(trials, return_inverse=True)
    generator = np.random.default_rng(seed)
    groups = int(group.max()) + 1
    counts = generator.multinomial(groups, np.full(groups, 1 / groups), size=resamples)
    weights = counts[:, group].astype(np.float64)
    for_above, for_below = weights[:, : above.size], weights[:, above.size :]
    pairs = for_above.sum(1) * for_below.sum(1)
    drawn = ((for_above @ wins) * for_below).sum(1)[pairs > 0] / pairs[pairs > 0]
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(float(wins.mean()), float(low), float(high))


def interquartile_mean(values: Sequence[float] | np.ndarray) -> float:
    """Mean of the middle half of the values, whole numbers of them cut off at either end.

    As ``rliable`` and ``scipy.stats.trim_mean(..., 0.25)`` have it. NaN without values.
    """
    data = np.sort(np.asarray(values, dtype=np.float64), axis=None)
    cut = int(0.25 * data.size)
    return float(data[cut : data.size - cut].mean()) if data.size else math.nan


def stratified_bootstrap(
    scores: Sequence[Sequence[float]] | Sequence[np.ndarray] | np.ndarray,
    statistic: Callable[[np.ndarray], float] = interquartile_mean,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Interval of a statistic over runs of several tasks (Agarwal et al. 2021, NeurIPS).

    Runs are drawn anew within each task, so that every resample has each task as often as the
    data. With one task it is the ordinary bootstrap over runs.

    Args:
        scores: one row of run scores per task; rows may differ in length.
        statistic: maps all scores, flattened, to a number.
        confidence: coverage, in (0, 1).
        resamples: how often the runs are drawn anew.
        seed: of the resampling.

    Returns:
        NaN throughout without any score. With one run per task the interval is that one value:
        a single run says nothing about how runs differ.

    Raises:
        ValueError: a score is not finite, or the confidence is not in (0, 1).
    """
    _require_confidence(confidence)
    rows = [np.asarray(row, dtype=np.float64) for row in scores if len(row)]
    if not rows:
        return Interval(math.nan, math.nan, math.nan)
    flat = np.concatenate(rows)
    if not np.isfinite(flat).all():
        raise ValueError("the bootstrap needs finite scores; drop or count the missing ones first")
    generator = np.random.default_rng(seed)
    drawn = np.concatenate(
        [row[generator.integers(0, row.size, (resamples, row.size))] for row in rows], axis=1
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile([statistic(sample) for sample in drawn], [tail, 1 - tail])
    return Interval(float(statistic(flat)), float(low), float(high))


def percentile(values: Sequence[float] | np.ndarray, percent: float) -> float:
    """The `percent`-th percentile of the finite values; NaN without any."""
    data = np.asarray(values, dtype=np.float64)
    data = data[np.isfinite(data)]
    return float(np.percentile(data, percent)) if data.size else math.nan


def _require_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, found {confidence}")
