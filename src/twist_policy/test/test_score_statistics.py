"""AUROC, interquartile mean and stratified bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from twist_policy.statistics import area_under_roc, interquartile_mean, stratified_bootstrap


def test_the_area_is_that_of_the_rank_sum_test_also_with_ties() -> None:
    rng = np.random.default_rng(0)
    above, below = rng.integers(2, 9, 40).astype(float), rng.integers(0, 7, 25).astype(float)
    expected = stats.mannwhitneyu(above, below).statistic / (above.size * below.size)
    found = area_under_roc(above, below)
    assert found.estimate == pytest.approx(expected)
    assert found.low < found.estimate < found.high


def test_scores_that_never_overlap_are_told_apart_for_certain() -> None:
    assert area_under_roc([3.0, 4.0], [1.0, 2.0]).bounds == (1.0, 1.0)
    assert area_under_roc([1.0, 2.0], [3.0, 4.0]).estimate == 0.0
    assert math.isnan(area_under_roc([], [1.0]).estimate)


def test_trials_are_resampled_with_all_their_episodes() -> None:
    """Twenty copies of every episode are no more evidence than one."""
    rng = np.random.default_rng(1)
    above, below, trials = rng.normal(0.7, 1, 15), rng.normal(0, 1, 15), np.arange(15)
    once = area_under_roc(above, below, positive_trials=trials, negative_trials=trials)
    many = area_under_roc(
        np.tile(above, 20), below, positive_trials=np.tile(trials, 20), negative_trials=trials
    )
    assert many.estimate == pytest.approx(once.estimate)
    assert many.bounds == pytest.approx(once.bounds)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (([math.nan], [1.0], None, None), "finite"),
        (([1.0], [1.0], [0], None), "both kinds"),
        (([1.0], [1.0], [0, 1], [0]), "as many trials"),
    ],
)
def test_bad_scores_are_refused(arguments: tuple[object, ...], reason: str) -> None:
    above, below, first, second = arguments
    with pytest.raises(ValueError, match=reason):
        area_under_roc(above, below, positive_trials=first, negative_trials=second)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 3, 4, 9, 20])
def test_the_interquartile_mean_is_the_quarter_trimmed_one(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25))


def test_the_stratified_bootstrap_keeps_every_task_in_every_resample() -> None:
    """Two tasks that never vary: whatever is drawn, half of the scores are of either."""
    found = stratified_bootstrap([[0.0] * 4, [1.0] * 4], np.mean)
    assert (found.low, found.estimate, found.high) == (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="finite"):
        stratified_bootstrap([[math.nan]])


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for repeat in range(120):
        found = stratified_bootstrap(
            [rng.normal(0, 1, 20), rng.normal(0, 1, 20)], np.mean, resamples=300, seed=repeat
        )
        covered += found.low <= 0.0 <= found.high
    assert covered >= 104  # 95 % of 120 is 114; below 104 has probability 1e-3
