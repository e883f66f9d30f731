"""Sending the arm to a joint target: when it is allowed, how often it is tried, when it counts.

No ROS and no waiting: `Homing.poll` carries on from wherever things stand. The steps: nobody else
commands the arm → Servo is paused → the motion → joint states show that the arm arrived → done.
A motion that failed, or ended a little off, is tried again; one that ended far off has met
something, and is not. An arm that did not arrive is held where it stands: its controller would go
on pushing towards the target. The arm is stopped when the policy becomes active, when a person
asks, and after a time limit. Nothing is started while it is not known what became of an earlier
motion.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from twist_robot.motion.arrival import ArrivalCheck, JointReading
from twist_robot.motion.joint_targets import FloatArray, JointTarget, TargetError
from twist_robot.motion.motions import FailedMotion, Motion, MotionRequest, MotionState, Mover

_CANCEL_TIMEOUT = 5.0
"""Seconds in which a cancelled motion has to end."""
_BLOCKED = 0.05
"""Radians from the target, of any joint, from which on an arm that does not arrive is blocked."""


@dataclass(frozen=True)
class HomingRules:
    """Limits of homing.

    Attributes:
        attempts: how often the motion is tried.
        tolerance: radians per joint within which the arm has arrived.
        motion_timeout: seconds one motion may take.
        arrival_timeout: seconds from its end until the arm stands at the target.
        input_timeout: seconds until joint states and whatever moves the arm are there.
        joint_state_age: seconds; older joint states are none.
        lift: whether the tool first goes straight up to the home height.
    """

    attempts: int = 2
    tolerance: float = 0.01
    motion_timeout: float = 45.0
    arrival_timeout: float = 3.0
    input_timeout: float = 5.0
    joint_state_age: float = 0.5
    lift: bool = True


class Surroundings(Protocol):
    """Who else could move the arm."""

    def missing(self, now: float) -> str:
        """What has to be known before the arm may be moved, in words; empty when all is known."""

    def objection(self, now: float) -> str:
        """Why the arm must not be moved now, with the cure; empty when it may."""

    def pause_servo(self, now: float) -> Motion | None:
        """Pauses Servo; None when there is no Servo."""


class HomingStep(enum.Enum):
    """What homing waits for."""

    INPUTS = "waiting for joint states and the arm's motion server"
    PAUSE = "pausing Servo"
    MOTION = "moving"
    ARRIVAL = "waiting until the arm stands at its target"
    HOLDING = "did not arrive, is being held where it stands"
    STOPPING = "waiting until a cancelled motion has ended"
    OVER = "over"


class Homing:
    """One way to a target.

    Args:
        target: where to.
        lifted: gives the target straight above measured joint positions, or None if that is not
            needed; may raise `TargetError`.
        mover: moves.
        surroundings: who else could move the arm.
        rules: limits.
        now: seconds on the steady clock.
    """

    def __init__(
        self,
        target: JointTarget,
        lifted: Callable[[list[float]], JointTarget | None],
        mover: Mover,
        surroundings: Surroundings,
        rules: HomingRules,
        now: float,
    ) -> None:
        self.step = HomingStep.INPUTS
        self.attempt = 0
        self.error = ""
        """Why it failed, with cause and cure; empty after success."""
        self._target = target
        self._lifted = lifted
        self._mover = mover
        self._surroundings = surroundings
        self._rules = rules
        self._since = now
        self._now = now
        self._motion: Motion | None = None
        self._try_again = False
        self._trouble: list[str] = []
        self._cancelled_at: float | None = None
        self._arrival: ArrivalCheck | None = None
        self._reading: JointReading | None = None

    @property
    def moving(self) -> bool:
        """Whether a motion is under way that was neither cancelled nor given up."""
        return (
            self.step is HomingStep.MOTION and self._motion is not None and not self._motion.message
        )

    @property
    def over(self) -> bool:
        """Whether it has ended; `error` tells how."""
        return self.step is HomingStep.OVER

    def joint_state(self, reading: JointReading) -> None:
        """A joint state arrived."""
        self._reading = reading
        arrival = self._arrival if self.step is HomingStep.ARRIVAL else None
        if arrival is not None and arrival.update(reading):
            self.step = HomingStep.OVER

    def stop(self, reason: str) -> None:
        """Stops the arm; homing is over as soon as the motion under way has ended."""
        if self.over:
            return
        self.error = self.error or "; then ".join([*self._trouble, reason])
        self._try_again = False
        if self.step in (HomingStep.MOTION, HomingStep.STOPPING):
            self._cancel_motion()
        elif self.step is HomingStep.ARRIVAL:
            self._hold(self._now)
        elif self.step is not HomingStep.HOLDING:
            self._end()

    def abandon(self, reason: str) -> None:
        """Gives up at once, where going on is not possible; cancels the motion if that works."""
        with contextlib.suppress(Exception):
            self.stop(reason)
        self.error = f"{self.error or reason}; use the emergency stop if the arm moves"
        self.step = HomingStep.OVER

    def poll(self, now: float) -> None:
        """Goes on as far as possible; to be called some 20 times a second."""
        self._now = now
        if self.over:
            return
        if self.step is HomingStep.STOPPING:
            self._wait_for_end(now)
            return
        if self.step is HomingStep.HOLDING:
            self._wait_for_hold(now)
            return
        objection = self._surroundings.objection(now)
        if objection:
            self.stop(objection)
            return
        if self.step is HomingStep.INPUTS:
            self._wait_for_inputs(now)
        elif self.step is HomingStep.PAUSE:
            self._wait_for_servo(now)
        elif self.step is HomingStep.MOTION:
            self._follow_motion(now)
        elif self.step is HomingStep.ARRIVAL and now - self._since > self._rules.arrival_timeout:
            assert self._arrival is not None
            self._trouble.append(f"the motion ended, but {self._arrival.explain()}")
            self._try_again = self._arrival.error < _BLOCKED
            self._hold(now)

    def _fresh_positions(self, now: float) -> list[float] | None:
        reading = self._reading
        if reading is None or now - reading.received > self._rules.joint_state_age:
            return None
        return reading.of(self._target.joints)

    def _wait_for_inputs(self, now: float) -> None:
        missing = (
            self._surroundings.missing(now) or self._mover.missing() or self._mover.unsettled(now)
        )
        if not missing and self._fresh_positions(now) is None:
            missing = (
                "no fresh joint states with "
                f"{self._target.joints[0]} ... {self._target.joints[-1]}; is the driver running, "
                "and joint_states remapped to its topic?"
            )
        if missing:
            if now - self._since > self._rules.input_timeout:
                self.stop(f"after {self._rules.input_timeout:g} s: {missing}")
            return
        self._motion = self._surroundings.pause_servo(now)
        self._go_to(HomingStep.PAUSE, now)
        if self._motion is None:
            self._begin(now)

    def _wait_for_servo(self, now: float) -> None:
        assert self._motion is not None
        state = self._motion.poll(now)
        if state is MotionState.FAILED:
            self.stop(f"Servo could not be paused: {self._motion.message}")
        elif state is MotionState.DONE:
            self._begin(now)

    def _begin(self, now: float) -> None:
        positions = self._fresh_positions(now)
        if positions is None:
            self.stop("the joint states stopped; check the driver")
            return
        try:
            via = self._lifted(positions) if self._rules.lift else None
        except TargetError as error:
            self.stop(str(error))
            return
        self.attempt += 1
        request = MotionRequest(_array(positions), via, self._target)
        self._motion = self._mover.start(request, now)
        self._go_to(HomingStep.MOTION, now)

    def _follow_motion(self, now: float) -> None:
        assert self._motion is not None
        state = self._motion.poll(now)
        if state is MotionState.FAILED:
            self._failed(self._motion.message, now)
        elif state is MotionState.DONE:
            self._arrival = ArrivalCheck(self._target, tolerance=self._rules.tolerance)
            self._go_to(HomingStep.ARRIVAL, now)
        elif now - self._since > self._rules.motion_timeout:
            self._try_again = True
            self._cancel_motion()

    def _cancel_motion(self) -> None:
        assert self._motion is not None
        if self.step is not HomingStep.STOPPING:
            self._motion.cancel()
            self._cancelled_at = None
        self.step = HomingStep.STOPPING

    def _wait_for_end(self, now: float) -> None:
        assert self._motion is not None
        if self._cancelled_at is None:
            self._cancelled_at = now
        waited = now - self._cancelled_at
        if self._motion.poll(now) is MotionState.RUNNING and waited <= _CANCEL_TIMEOUT:
            return
        if waited > _CANCEL_TIMEOUT:
            self._try_again = False
            self.error = (
                f"{self.error or 'the motion took too long'}; it did not end within "
                f"{_CANCEL_TIMEOUT:g} s of being cancelled: "
                f"{self._mover.unsettled(now) or 'use the emergency stop if the arm moves'}"
            )
            self.step = HomingStep.OVER
        elif self._try_again:
            self._try_again = False
            self._failed(
                f"the motion took longer than {self._rules.motion_timeout:g} s and was cancelled",
                now,
            )
        else:
            self._end()

    def _hold(self, now: float) -> None:
        positions = self._fresh_positions(now)
        if positions is None:
            self._motion = FailedMotion("the joint states stopped")
        else:
            here = JointTarget("where it stands", self._target.joints, tuple(positions))
            self._motion = self._mover.hold(here, now)
        self._go_to(HomingStep.HOLDING, now)

    def _wait_for_hold(self, now: float) -> None:
        state = MotionState.DONE if self._motion is None else self._motion.poll(now)
        waited = now - self._since
        if state is MotionState.RUNNING and waited <= _CANCEL_TIMEOUT:
            return
        if state is not MotionState.DONE:
            assert self._motion is not None
            said = self._motion.message or f"no answer for {_CANCEL_TIMEOUT:g} s"
            self._trouble.append(
                f"it could not be held where it stands ({said}) and may push on towards "
                f"{self._target.name}: use the emergency stop if it does"
            )
            self._try_again = False
        self._next_attempt(now)

    def _failed(self, reason: str, now: float) -> None:
        self._trouble.append(reason)
        self._try_again = True
        self._next_attempt(now)

    def _next_attempt(self, now: float) -> None:
        again, self._try_again = self._try_again, False
        if again and not self.error and self.attempt < self._rules.attempts:
            self._motion = None
            self._go_to(HomingStep.INPUTS, now)
            return
        trouble = "; then ".join(dict.fromkeys(self._trouble))
        if not self.error:
            tries = f" ({self.attempt} attempts)" if self.attempt > 1 else ""
            self.error = f"{self._target.name} was not reached{tries}: {trouble}"
        elif trouble not in self.error:  # stopped meanwhile
            self.error = f"{self.error}; {trouble}"
        self._end()

    def _end(self) -> None:
        """Ends with an error, and does not call an arm stopped of which nobody knows that."""
        unsettled = self._mover.unsettled(self._now)
        if unsettled and "emergency stop" not in self.error:
            self.error = f"{self.error}; {unsettled}"
        self.step = HomingStep.OVER

    def _go_to(self, step: HomingStep, now: float) -> None:
        self.step = step
        self._since = now


def _array(values: list[float]) -> FloatArray:
    return np.array(values, dtype=np.float64)
