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
    excess = both * neither - only_first * only_second
    if excess > 0:
        excess = max(excess - trials / 2, 0)  # Newcombe's continuity correction
    correlation = excess / math.sqrt(margins) if margins else 0.0
    below, above = first.estimate - first.low, second.high - second.estimate
    low = math.sqrt(max(0.0, below**2 - 2 * correlation * below * above + above**2))
    above, below = first.high - first.estimate, second.estimate - second.low
    high = math.sqrt(max(0.0, above**2 - 2 * correlation * above * below + below**2))
    difference = (only_first - only_second) / trials
    return Interval(difference, max(-1.0, difference - low), min(1.0, difference + high))


def percentile(values: Sequence[float] | np.ndarray, percent: float) -> float:
    """The `percent`-th percentile of the finite values; NaN without any."""
    data = np.asarray(values, dtype=np.float64)
    data = data[np.isfinite(data)]
    return float(np.percentile(data, percent)) if data.size else math.nan


def _require_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, found {confidence}")
