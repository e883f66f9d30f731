"""When to decide: at the control rate, and right after a frame arrived."""

from __future__ import annotations

_PULL = 0.1
"""Share of a decision's lateness by which the schedule moves along."""


class DecisionPacer:
    """Chooses the frames that are decided on.

    A free-running control timer would use a frame that is up to one camera period old (33 ms at
    30 Hz). Here the frame's arrival triggers the decision: a decision falls due once per control
    period, and is taken when a frame arrives no earlier than half a camera period before the due
    time. With a camera that is faster than the control rate the schedule thereby locks to the
    frames (every third one at 30 Hz and 10 Hz), the waiting time vanishes, and two decisions are a
    control period apart as exactly as the frames are. The schedule is pulled slowly towards the
    frames, so that 29.97 Hz stays locked, and keeps the mean rate where the two rates do not
    divide. With a slower camera every frame is decided on.

    Args:
        period: control period, seconds.
        clearance: two decisions are never closer than this share of the period.
    """

    def __init__(self, period: float, clearance: float = 0.6) -> None:
        self._period = period
        self._clearance = clearance * period
        self._frame_period = period / 3
        self.reset()

    def reset(self) -> None:
        """Makes the next frame due at once; the frame rate is kept."""
        self._due: float | None = None
        self._last_decision: float | None = None
        self._last_arrival: float | None = None

    @property
    def next_due(self) -> float | None:
        """When the next decision falls due, seconds; None before the first."""
        return self._due

    def frame_arrived(self, now: float) -> bool:
        """Notes an arrival at `now` (seconds); whether this frame is to be decided on."""
        if self._last_arrival is not None:
            interval = now - self._last_arrival
            if 0 < interval < 2 * self._period:
                self._frame_period += 0.1 * (interval - self._frame_period)
        self._last_arrival = now
        if self._due is None or self._last_decision is None:
            return True
        early = min(0.5 * self._frame_period, self._period - self._clearance)
        return now >= self._due - early and now - self._last_decision >= self._clearance

    def decided(self, now: float) -> None:
        """Notes that the frame which arrived at `now` is decided on."""
        if self._due is None or abs(now - self._due) > 0.5 * self._period:
            self._due = now + self._period
        else:
            self._due += self._period + _PULL * (now - self._due)
        self._last_decision = now
