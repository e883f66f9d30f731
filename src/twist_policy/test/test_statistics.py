"""Intervals against published and independently computed values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from scipy.stats.contingency import relative_risk

from twist_policy.statistics import (
    bootstrap_interval,
    mcnemar_exact,
    paired_difference,
    percentile,
    ratio_of_rates,
    wilson_interval,
)


def test_wilson_interval_of_published_examples() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3: 81/263 and 15/148.
    first, second = wilson_interval(81, 263), wilson_interval(15, 148)

    assert (first.low, first.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert (second.low, second.high) == pytest.approx((0.0624, 0.1605), abs=5e-5)


@given(st.integers(1, 400), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_interval_agrees_with_scipy(
    trials: int, data: st.DataObject, confidence: float
) -> None:
    successes = data.draw(st.integers(0, trials))

    mine = wilson_interval(successes, trials, confidence)
    theirs = binomtest(successes, trials).proportion_ci(confidence, method="wilson")

    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert 0 <= mine.low <= mine.estimate <= mine.high <= 1


def test_wilson_interval_of_no_and_all_successes_touches_the_end_exactly() -> None:
    assert wilson_interval(0, 20).low == 0.0
    assert wilson_interval(20, 20).high == 1.0
    assert wilson_interval(20, 20).low == pytest.approx(0.8389, abs=1e-4)


def test_without_trials_nothing_is_claimed() -> None:
    interval = wilson_interval(0, 0)

    assert math.isnan(interval.estimate)
    assert (interval.low, interval.high) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="impossible"):
        wilson_interval(successes, trials)


@pytest.mark.parametrize("confidence", [0.0, 1.0, math.nan])
def test_impossible_confidence_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        wilson_interval(1, 2, confidence)
    with pytest.raises(ValueError, match="confidence"):
        bootstrap_interval([1.0], confidence=confidence)


def test_bootstrap_of_a_mean_agrees_with_the_normal_interval() -> None:
    data = np.random.default_rng(1).normal(3.0, 2.0, 400)

    interval = bootstrap_interval(data)

    # 1.96 standard errors; the resampling noise of 2000 draws is below a tenth of it.
    half = 1.96 * data.std(ddof=1) / math.sqrt(data.size)
    assert interval.estimate == pytest.approx(data.mean())
    assert interval.low == pytest.approx(data.mean() - half, abs=half / 8)
    assert interval.high == pytest.approx(data.mean() + half, abs=half / 8)


def test_bootstrap_is_repeatable_and_takes_any_statistic() -> None:
    data = [0.5, 1.0, 2.0, 9.0]

    first = bootstrap_interval(data, lambda row: float(np.median(row)))

    assert first == bootstrap_interval(data, lambda row: float(np.median(row)))
    assert first.estimate == 1.5
    assert 0.5 <= first.low <= first.high <= 9.0


def test_bootstrap_without_data_is_nan_and_with_nan_is_refused() -> None:
    assert math.isnan(bootstrap_interval([]).estimate)
    with pytest.raises(ValueError, match="finite"):
        bootstrap_interval([1.0, math.nan])


def test_percentile_leaves_out_what_was_not_measured() -> None:
    assert percentile([1.0, math.nan, 3.0], 50) == 2.0
    assert math.isnan(percentile([math.nan], 50))


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_agrees_with_scipys_binomial_test(first: int, second: int) -> None:
    theirs = binomtest(first, first + second, 0.5).pvalue if first + second else 1.0

    assert mcnemar_exact(first, second) == pytest.approx(theirs, abs=1e-12)
    assert mcnemar_exact(first, second) == mcnemar_exact(second, first)


def test_paired_difference_of_a_published_example() -> None:
    # Newcombe (1998), Statistics in Medicine 17:2635, method 10: 36, 12, 2 and 0 of 50 pairs.
    one = paired_difference(36, 12, 2, 0)
    assert one.estimate == pytest.approx(0.20)
    assert one.bounds == pytest.approx((0.0569, 0.3404), abs=5e-4)


@given(*[st.integers(0, 40)] * 4)
def test_paired_difference_is_antisymmetric_and_holds_its_estimate(
    both: int, first: int, second: int, neither: int
) -> None:
    one = paired_difference(both, first, second, neither)
    other = paired_difference(both, second, first, neither)

    assert one.bounds == pytest.approx((-other.high, -other.low))
    if both + first + second + neither:
        assert -1 <= one.low <= one.estimate <= one.high <= 1


def test_a_ratio_of_rates_agrees_with_scipy_where_counts_are_large() -> None:
    mine = ratio_of_rates(620, 1000, 910, 1200)
    theirs = relative_risk(620, 1000, 910, 1200)
    interval = theirs.confidence_interval(0.95)
    assert mine.estimate == pytest.approx(theirs.relative_risk)
    assert (mine.low, mine.high) == pytest.approx((interval.low, interval.high), abs=2e-3)


@given(st.integers(1, 200), st.integers(1, 200), st.data())
def test_a_ratio_of_rates_lies_in_its_interval_and_turns_over(
    trials: int, others: int, data: st.DataObject
) -> None:
    successes, other = data.draw(st.integers(1, trials)), data.draw(st.integers(1, others))
    ratio = ratio_of_rates(successes, trials, other, others)
    assert 0 <= ratio.low <= ratio.estimate * (1 + 1e-9)
    assert ratio.estimate <= ratio.high * (1 + 1e-9)
    turned = ratio_of_rates(other, others, successes, trials)
    if math.isfinite(turned.high) and turned.high > 0 and ratio.low > 0:
        assert ratio.low == pytest.approx(1 / turned.high, rel=1e-6)


@pytest.mark.parametrize(("p", "q"), [(0.91, 0.99), (0.6, 0.97), (0.96, 0.96), (0.3, 0.5)])
def test_a_ratio_of_rates_covers_the_truth_as_often_as_it_says(p: float, q: float) -> None:
    generator = np.random.default_rng(1)
    pairs = generator.binomial(100, [p, q], size=(2000, 2)).tolist()
    intervals = [ratio_of_rates(a, 100, b, 100) for a, b in pairs]
    covered = np.mean([ratio.low <= p / q <= ratio.high for ratio in intervals])
    assert 0.93 <= covered <= 0.99


def test_a_ratio_of_rates_at_the_ends() -> None:
    perfect = ratio_of_rates(100, 100, 100, 100)
    assert (perfect.estimate, perfect.low, perfect.high) == pytest.approx(
        (1, 0.963, 1.038), abs=1e-3
    )
    assert ratio_of_rates(0, 50, 40, 50).low == 0.0
    impossible = ratio_of_rates(3, 50, 0, 50)
    assert math.isnan(impossible.estimate)
    assert (impossible.low, impossible.high) == (0.0, math.inf)
