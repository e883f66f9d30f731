"""Clearing the arm's errors: an explicit act, step by step, never by itself. No ROS in here.

Each step is started and polled; the first one that fails is the last one. What every step did is
kept in words.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twist_robot.motion.motions import Motion, MotionState
from twist_robot.robot_mode import RobotMode


class RecoveryStep(enum.Enum):
    """What a driver may need, by the name that a robot profile gives it."""

    DEACTIVATE_CONTROLLERS = "deactivate_controllers"
    ERROR_RECOVERY = "error_recovery"
    ACTIVATE_HARDWARE = "activate_hardware"
    ACTIVATE_BROADCASTERS = "activate_broadcasters"
    ACTIVATE_CONTROLLERS = "activate_controllers"


@dataclass(frozen=True)
class Health:
    """What recovery has to know of the arm.

    Attributes:
        mode: what the arm's controller does.
        errors: names of the errors that are present.
        age: seconds since this was heard.
    """

    mode: RobotMode
    errors: tuple[str, ...]
    age: float

    @property
    def words(self) -> str:
        """For a person."""
        return f"mode {self.mode.words}, " + (
            f"errors {', '.join(self.errors)}" if self.errors else "no errors"
        )


_BEYOND_SOFTWARE = {
    RobotMode.USER_STOPPED: "release the emergency stop or the enabling device",
    RobotMode.GUIDING: "let go of the guiding button",
    RobotMode.AUTOMATIC_ERROR_RECOVERY: "wait until the recovery under way has ended",
}
_CURES = {
    **_BEYOND_SOFTWARE,
    RobotMode.IDLE: "activate a controller (`ros2 control list_controllers` shows their states)",
}
_LAST_RESORT = "unlock it in Desk, or restart the driver"


def objection(health: Health | None, max_age: float, *, ends_silence: bool = False) -> str:
    """Why recovery makes no sense now, with the cure; empty when it does.

    Args:
        health: the newest, or None when nothing was heard yet.
        max_age: seconds; an older health says nothing about now.
        ends_silence: whether recovery makes a driver speak that has fallen silent.
    """
    if health is None or health.age > max_age:
        if ends_silence:
            return ""
        heard = "never" if health is None else f"{health.age:.1f} s ago"
        return f"the driver's state was heard {heard}; start the driver first"
    cure = _BEYOND_SOFTWARE.get(health.mode)
    if cure is not None:
        return f"the arm is in mode {health.mode.words}: {cure}, then recover again if need be"
    if health.mode is RobotMode.MOVE and not health.errors:
        return "there is nothing to recover: the arm is in mode move and has no errors"
    return ""


class HealthCheck:
    """Waits until the arm can move and shows no error; the last step of every recovery.

    Only what the arm said after this step began counts: an earlier state is one from before what
    the other steps did. Mode move is what counts, since an arm obeys in no other.

    Args:
        health: gives the newest.
        now: seconds on the steady clock.
        timeout: seconds.
        max_age: seconds; an older health does not count.
    """

    def __init__(
        self, health: Callable[[], Health | None], now: float, timeout: float, max_age: float
    ) -> None:
        self.message = ""
        self._health = health
        self._began = now
        self._deadline = now + timeout
        self._max_age = max_age

    def poll(self, now: float) -> MotionState:
        """How it stands."""
        health = self._health()
        if health is not None and not self._counts(health, now):
            health = None
        if health is not None and health.mode is RobotMode.MOVE and not health.errors:
            return MotionState.DONE
        if now > self._deadline:
            self.message = f"the arm did not recover: {_explain(health)}"
            return MotionState.FAILED
        return MotionState.RUNNING

    def _counts(self, health: Health, now: float) -> bool:
        return health.age <= self._max_age and now - health.age > self._began

    def cancel(self) -> None:
        """Nothing is under way."""


def _explain(health: Health | None) -> str:
    if health is None:
        return f"the driver's state has stopped; {_LAST_RESORT}"
    if health.errors or health.mode not in _CURES:
        return f"{health.words}; {_LAST_RESORT}"
    return f"{health.words}; it obeys in mode move alone: {_CURES[health.mode]}"


class Recovery:
    """One attempt.

    Args:
        steps: (name, starts the step at a time in seconds) in order; at least one.
        now: seconds on the steady clock.
        step_timeout: seconds a step may take.
    """

    def __init__(
        self,
        steps: Sequence[tuple[str, Callable[[float], Motion]]],
        now: float,
        step_timeout: float,
    ) -> None:
        self.lines: list[str] = []
        """What each step did."""
        self.error = ""
        """Why it failed, with cause and cure."""
        self._steps = list(steps)
        self._timeout = step_timeout
        self._begin(now)

    @property
    def over(self) -> bool:
        """Whether it has ended; `error` tells how."""
        return bool(self.error) or not self._steps

    def poll(self, now: float) -> None:
        """Goes on as far as possible."""
        while not self.over:
            name = self._steps[0][0]
            state = self._current.poll(now)
            if state is MotionState.RUNNING:
                if now - self._since <= self._timeout:
                    return
                self._current.cancel()
                waited = f"not over after {self._timeout:g} s"
                known = self._current.message
                self._fail(name, f"{waited}: {known}" if known else f"{waited}; is it running?")
            elif state is MotionState.FAILED:
                self._fail(name, self._current.message)
            else:
                self.lines.append(f"{name}: done")
                self._steps.pop(0)
                if self._steps:
                    self._begin(now)

    def _begin(self, now: float) -> None:
        self._since = now
        self._current = self._steps[0][1](now)

    def _fail(self, name: str, reason: str) -> None:
        self.lines.append(f"{name}: failed: {reason}")
        later = [name for name, _ in self._steps[1:]]
        left = f" (not tried: {', '.join(later)})" if later else ""
        self.error = f"{name} failed: {reason}{left}"
