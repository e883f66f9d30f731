"""Judges: who says whether a trial succeeded.

A judge looks at the world, never at the policy's belief. The ground-truth judge reads the twin's
true state; `operator_judge` has the one that asks a person, with or without a camera's measurement.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class JudgeError(RuntimeError):
    """No judgement is possible; the message names cause and cure. The trial is aborted."""


class NotJudged(RuntimeError):
    """The trial was run, but nobody said how it ended; the message says why.

    Attributes:
        distance: metres between object and goal as a camera measured it; NaN when none did.
        picture: file that shows how it ended; empty for none.
    """

    def __init__(self, reason: str, distance: float = math.nan, picture: str = "") -> None:
        super().__init__(reason)
        self.distance = distance
        self.picture = picture


@dataclass(frozen=True)
class Verdict:
    """A judgement.

    Attributes:
        success: whether the task's success rule held.
        distance: metres between object and goal; NaN when the judge does not measure it.
        deviation: standard deviation of the distance, metres; NaN when it is not known.
        by: who decided, where it is not the judge's name.
        picture: file that shows what was measured; empty for none.
    """

    success: bool
    distance: float
    deviation: float = math.nan
    by: str = ""
    picture: str = ""


class Judge(Protocol):
    """Decides about the world as it is now."""

    @property
    def name(self) -> str:
        """Recorded with every result: ``ground_truth``, ``camera`` or ``operator``."""

    @property
    def needs_clear_view(self) -> bool:
        """Whether the arm has to be out of the way. What it holds goes with it."""

    def already_solved(self) -> bool:
        """Whether the task is solved before the trial starts; such a trial says nothing.

        Raises:
            JudgeError: nothing fresh can be seen.
        """

    def judge(self, picture: Path | None = None) -> Verdict:
        """Looks and decides; may block.

        Args:
            picture: where to save what was looked at, by a judge that looks at pictures.

        Raises:
            JudgeError: nothing fresh can be seen.
            NotJudged: nobody decided.
        """


@dataclass(frozen=True)
class WorldState:
    """One message of true state.

    Attributes:
        stamp: seconds, when the state was.
        distance: metres between object and goal.
        success: whether the success rule holds.
    """

    stamp: float
    distance: float
    success: bool


class GroundTruthJudge:
    """Judges by the latest true state of the simulated world.

    Args:
        latest: returns the last state received, or None.
        now: the clock of the stamps, seconds.
        maximum_age: seconds; an older state is no judgement.
        timeout: seconds to wait for a fresh state.
        topic: where the states come from, for messages.
        wait: sleeps; replaced in tests.
    """

    def __init__(
        self,
        latest: Callable[[], WorldState | None],
        now: Callable[[], float],
        *,
        maximum_age: float,
        timeout: float = 1.0,
        topic: str = "robot_twin/ground_truth",
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._latest = latest
        self._now = now
        self._maximum_age = maximum_age
        self._timeout = timeout
        self._topic = topic
        self._wait = wait

    @property
    def name(self) -> str:
        """``ground_truth``."""
        return "ground_truth"

    @property
    def needs_clear_view(self) -> bool:
        """False: the true state is known wherever the arm is."""
        return False

    def already_solved(self) -> bool:
        """Whether the success rule holds now.

        Raises:
            JudgeError: as `judge`.
        """
        return self.judge().success

    def judge(self, picture: Path | None = None) -> Verdict:
        """Takes the first state stamped after the call; failing that, the last fresh one.

        Raises:
            JudgeError: no state, or only old ones: the twin stands still or is gone.
        """
        asked = self._now()
        state = self._latest()
        while (state is None or state.stamp < asked) and self._now() - asked < self._timeout:
            self._wait(0.01)
            state = self._latest()
        if state is None:
            raise JudgeError(f"no message on {self._topic}: is the robot twin running?")
        age = self._now() - state.stamp
        if age > self._maximum_age:
            raise JudgeError(
                f"the last message on {self._topic} is {age:.1f} s old, at most "
                f"{self._maximum_age:g} s are accepted: the robot twin stands still or is gone"
            )
        return Verdict(state.success, state.distance)
