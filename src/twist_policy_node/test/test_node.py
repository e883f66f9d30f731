"""Promises of the running node, kept over real middleware."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow


def test_nothing_is_commanded_before_activation(stand: Any) -> None:
    stand.configured("forward")
    assert stand.state() == "inactive"
    time.sleep(0.5)  # a time in which nothing may happen cannot be awaited otherwise
    assert stand.cell.commands == []
    assert stand.cell.pause_requests == []
    assert stand.cell.steps == []


def test_the_running_node_moves_the_arm_in_bounded_steps(stand: Any) -> None:
    stand.running("forward")
    stand.wait_for(lambda: len(stand.cell.steps) >= 12, "twelve steps")
    steps = stand.cell.steps[:12]
    assert [s.step for s in steps] == list(range(12))
    assert all(np.linalg.norm(s.delta) <= 0.02 + 1e-9 for s in steps)
    assert stand.cell.link8[0] > 0.45
    for step in steps:
        assert step.limited_by == []
        assert 0 < step.camera_age <= step.latency
        assert step.raw_action[0] == pytest.approx(0.5)
    targets = [s.vector for s in stand.cell.commands]
    assert all(np.linalg.norm(b - a) <= 0.021 for a, b in zip(targets, targets[1:], strict=False))
    stand.wait_for(lambda: len(stand.cell.beliefs) >= 3, "beliefs")
    assert len(max((b.imagined_ee_path for b in stand.cell.beliefs), key=len)) == 15
