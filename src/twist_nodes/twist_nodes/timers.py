"""Timers that keep their pace when the system clock is set."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.timer import Timer


def steady_timer(node: Node, period: float, callback: Callable[[], None]) -> Timer:
    """Calls `callback` every `period` seconds of the steady clock.

    rclpy's own default is the node's clock, which is the system's: set back by a minute, it stops
    a timer for a minute, and whatever that timer watches.
    """
    return node.create_timer(period, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))
