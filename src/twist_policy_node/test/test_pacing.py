from __future__ import annotations

import numpy as np
import pytest

from twist_policy_node.pacing import DecisionPacer

PERIOD = 0.1


def decisions(arrivals: list[float]) -> list[float]:
    pacer = DecisionPacer(PERIOD)
    taken = []
    for now in arrivals:
        if pacer.frame_arrived(now):
            pacer.decided(now)
            taken.append(now)
    return taken


def frames(rate: float, seconds: float, jitter: float = 0.0, phase: float = 0.0) -> list[float]:
    rng = np.random.default_rng(1)
    times = phase + np.arange(int(seconds * rate)) / rate
    return sorted((times + rng.uniform(-jitter, jitter, times.shape)).tolist())


@pytest.mark.parametrize("rate", [30.0, 29.97, 30.1, 60.0, 15.0, 25.0, 90.0])
def test_decisions_keep_the_control_rate_on_average(rate: float) -> None:
    taken = decisions(frames(rate, 60.0, jitter=0.002))
    mean = float(np.mean(np.diff(taken)))
    assert mean == pytest.approx(PERIOD, rel=0.01)


@pytest.mark.parametrize("rate", [30.0, 29.97, 30.05])
def test_with_a_30_hz_camera_decisions_are_one_control_period_apart(rate: float) -> None:
    intervals = np.diff(decisions(frames(rate, 60.0, jitter=0.005)))
    assert float(np.max(np.abs(intervals - PERIOD))) < 0.012


@pytest.mark.parametrize("rate", [15.0, 25.0, 30.0, 60.0, 200.0, 1000.0])
def test_two_decisions_are_never_closer_than_three_fifths_of_a_period(rate: float) -> None:
    intervals = np.diff(decisions(frames(rate, 20.0, jitter=0.02)))
    assert float(np.min(intervals)) >= 0.6 * PERIOD - 1e-9


def test_a_camera_slower_than_the_control_rate_is_decided_on_frame_by_frame() -> None:
    arrivals = frames(7.0, 10.0)
    assert decisions(arrivals) == arrivals


def test_after_a_pause_the_next_frame_is_decided_on_without_a_burst() -> None:
    arrivals = [*frames(30.0, 1.0), *frames(30.0, 1.0, phase=5.0)]
    taken = decisions(arrivals)
    after = [t for t in taken if t >= 5.0]
    assert after[0] == 5.0
    assert float(np.min(np.diff(taken))) >= 0.09


def test_reset_makes_the_next_frame_due() -> None:
    pacer = DecisionPacer(PERIOD)
    assert pacer.frame_arrived(0.0)
    pacer.decided(0.0)
    assert not pacer.frame_arrived(0.033)
    pacer.reset()
    assert pacer.frame_arrived(0.066)
