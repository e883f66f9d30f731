"""Timers keep their pace when the system clock is set."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from rclpy.clock import ClockType
from rclpy.node import Node

from twist_nodes.spinning import spinning
from twist_nodes.timers import steady_timer


def test_a_steady_timer_fires_by_the_steady_clock(make_node: Callable[..., Node]) -> None:
    node = make_node("watch")
    fired = threading.Event()
    timer = steady_timer(node, 0.01, fired.set)
    assert timer.clock.clock_type is ClockType.STEADY_TIME
    with spinning(node):
        assert fired.wait(10.0)


def test_no_node_has_a_timer_that_the_system_clock_can_stop() -> None:
    source = Path(__file__).parents[2]
    found = [
        f"{path.relative_to(source)}:{number}: {line.strip()}"
        for path in source.glob("*/*/**/*.py")
        if "test" not in path.relative_to(source).parts and path.name != "timers.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "create_timer(" in line
    ]
    assert not found, "use twist_nodes.timers.steady_timer:\n" + "\n".join(found)
