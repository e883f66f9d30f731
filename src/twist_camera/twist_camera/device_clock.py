"""A camera's time stamps as ROS time.

librealsense stamps frames in one of three clocks and says which: ``global_time`` (the camera's
clock, fitted to this computer's), ``system_time`` (arrival, when metadata are missing) and
``hardware_clock`` (the camera's own, from an arbitrary zero; it wraps). The first two are checked
against the computer's clock; for the third the offset is kept that makes the quickest of the recent
frames arrive at once, so that a stamp is late by the shortest transport, never early.
"""

from __future__ import annotations

from collections import deque

GLOBAL_TIME, SYSTEM_TIME, HARDWARE_CLOCK = "global_time", "system_time", "hardware_clock"
_MILLISECOND = 1_000_000


class ClockError(RuntimeError):
    """A stamp cannot be right; the message says what to check."""


class DeviceClock:
    """Converts stamps.

    Args:
        max_age: oldest believable stamp at arrival, seconds.
        tolerance: how far in the future a stamp may lie, seconds.
        window: frames that the offset of a hardware clock is taken from.
    """

    def __init__(self, max_age: float = 1.0, tolerance: float = 0.05, window: int = 300) -> None:
        self._max_age = round(max_age * 1e9)
        self._tolerance = round(tolerance * 1e9)
        self._offsets: deque[int] = deque(maxlen=window)
        self._last: tuple[str, float] | None = None
        self.domain: str | None = None
        """Clock of the last stamp."""
        self.restarts = 0
        """How often a hardware clock jumped back, or the clock was another one."""

    def stamp(self, domain: str, milliseconds: float, arrival: int) -> int:
        """ROS time of a frame.

        Args:
            domain: which clock.
            milliseconds: the frame's stamp in it.
            arrival: ROS time at which the frame arrived, nanoseconds.

        Returns:
            Nanoseconds.

        Raises:
            ClockError: an unknown clock, or one that contradicts this computer's.
        """
        if self._last is not None and (
            domain != self._last[0] or (domain == HARDWARE_CLOCK and milliseconds < self._last[1])
        ):
            self._offsets.clear()
            self.restarts += 1
        self._last, self.domain = (domain, milliseconds), domain
        device = round(milliseconds * _MILLISECOND)
        if domain == HARDWARE_CLOCK:
            self._offsets.append(arrival - device)
            return device + min(self._offsets)
        if domain not in (GLOBAL_TIME, SYSTEM_TIME):
            raise ClockError(f"the camera's stamps are of an unknown clock: {domain!r}")
        age = arrival - device
        if not -self._tolerance <= age <= self._max_age:
            raise ClockError(
                f"a frame's {domain} stamp lies {abs(age) / 1e9:.3f} s "
                f"{'before' if age > 0 else 'after'} its arrival: the camera delivers old frames, "
                "or this computer's clock was set meanwhile; unplug the camera and plug it in again"
            )
        return min(device, arrival)
