"""Keeping a fixed-step simulation at the pace of a clock."""

from __future__ import annotations

from dataclasses import dataclass

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Advance:
    """What the simulation has to do now.

    Attributes:
        steps: how many physics steps to take.
        stamp: clock time of the state after these steps, nanoseconds.
        lost: clock time that is skipped because the simulation was too late, seconds.
    """

    steps: int
    stamp: int
    lost: float


class RealTimePacer:
    """Says how many fixed physics steps bring a simulation up to the clock.

    The simulation never runs ahead of the clock. When it falls behind (a busy machine, a stopped
    process) it catches up by at most `max_catch_up` seconds at once and skips the rest, so that a
    short hiccup is made good and a long one does not end in a burst of work that causes the next.

    Args:
        step: physics step, seconds.
        max_catch_up: longest stretch simulated in one call, seconds.
        now: clock time at the start, nanoseconds.
    """

    def __init__(self, step: float, max_catch_up: float, now: int) -> None:
        if not 0 < step <= max_catch_up:
            raise ValueError(
                f"the physics step ({step} s) must be positive and not above max_catch_up "
                f"({max_catch_up} s)"
            )
        self._step = round(step * NANOSECONDS)
        self._max_steps = round(max_catch_up * NANOSECONDS) // self._step
        self._stamp = now
        self.lost_total = 0.0
        """Clock time skipped so far, seconds."""

    @property
    def stamp(self) -> int:
        """Clock time of the present state, nanoseconds."""
        return self._stamp

    def advance(self, now: int) -> Advance:
        """Steps that are due at clock time `now` (nanoseconds); the caller takes them."""
        behind = now - self._stamp
        if behind < 0:
            # The clock was set back: go on from there, without undoing what was simulated.
            if behind < -NANOSECONDS:
                self._stamp = now
            return Advance(0, self._stamp, 0.0)
        due = behind // self._step
        lost = 0.0
        if due > self._max_steps:
            skipped = (due - self._max_steps) * self._step
            self._stamp += skipped
            lost = skipped / NANOSECONDS
            self.lost_total += lost
            due = self._max_steps
        self._stamp += due * self._step
        return Advance(int(due), self._stamp, lost)
