"""When a measured number is far enough from a limit to say on which side it is."""

from __future__ import annotations

CLEARANCE = 2.5
"""Standard deviations between a measurement and the limit below which nobody should be sure."""


def is_clear(measured: float, deviation: float, limit: float) -> bool:
    """Whether a measurement says on which side of the limit the truth is.

    Args:
        measured: the measurement.
        deviation: its standard deviation, in the same unit.
        limit: of success, in the same unit.
    """
    return abs(measured - limit) >= CLEARANCE * deviation
