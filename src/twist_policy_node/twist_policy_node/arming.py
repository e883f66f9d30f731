"""Arming: what happens between `activate` and the first motion, step by step and without waiting.

A lifecycle callback must return before any service can answer, because node and services share
one executor. So activation only begins the sequence, and `Arming.poll` carries it on: inputs there
→ gripper opened, if the policy uses it → command type chosen → Servo unpaused → Servo heard of →
done. Every step has a time limit.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Protocol

from twist_policy_node.watchdogs import Fault

_SERVO_REFUSED = ("servo_refused", "check servo_node's log, then activate again")
_GRIPPER_REFUSED = (
    "gripper_refused",
    "check the gripper and its driver's log (home it after a fault), then activate again",
)


class CallState(enum.Enum):
    """How a service call stands."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


class Call(Protocol):
    """A call under way: of a service, or of the gripper."""

    name: str
    message: str

    def poll(self, now: float) -> CallState:
        """How it stands at `now`, seconds."""


class Servo(Protocol):
    """The calls that arming makes."""

    def switch_command_type(self) -> Call:
        """Chooses the kind of command."""

    def pause(self, paused: bool) -> Call:
        """Pauses, or lets go."""


class ArmingStep(enum.Enum):
    """What arming waits for."""

    INPUTS = "waiting for inputs"
    GRIPPER = "opening the gripper"
    COMMAND_TYPE = "choosing Servo's command type"
    UNPAUSE = "unpausing Servo"
    STATUS = "waiting for Servo's status"
    DONE = "done"


class Arming:
    """One arming sequence.

    Args:
        servo: is called.
        now: start, seconds.
        input_timeout: how long inputs may take to be there, seconds.
        status_timeout: how long Servo's status may take after unpausing, seconds.
        open_gripper: begins to open the gripper at a time in seconds; None to leave it alone.
    """

    def __init__(
        self,
        servo: Servo,
        now: float,
        *,
        input_timeout: float,
        status_timeout: float,
        open_gripper: Callable[[float], Call] | None = None,
    ) -> None:
        self.step = ArmingStep.INPUTS
        self._servo = servo
        self._input_timeout = input_timeout
        self._status_timeout = status_timeout
        self._open_gripper = open_gripper
        self._since = now
        self._call: Call | None = None

    @property
    def servo_asked(self) -> bool:
        """Whether Servo was told anything."""
        return self.step not in (ArmingStep.INPUTS, ArmingStep.GRIPPER)

    def poll(self, now: float, missing: Sequence[str], servo_heard: float | None) -> Fault | None:
        """Goes on as far as possible; returns a fault when a step failed or took too long.

        Args:
            now: seconds.
            missing: what is not there yet, in words.
            servo_heard: when Servo's last status arrived, seconds; None for never.
        """
        if self.step is ArmingStep.INPUTS:
            if missing:
                return self._inputs_missing(now, missing)
            if self._open_gripper is None:
                self._choose_command_type(now)
            else:
                self._call = self._open_gripper(now)
                self._go_to(ArmingStep.GRIPPER, now)
        if self.step is ArmingStep.GRIPPER:
            fault, done = self._called(now, _GRIPPER_REFUSED)
            if not done:
                return fault
            self._choose_command_type(now)
        if self.step is ArmingStep.COMMAND_TYPE:
            fault, done = self._called(now, _SERVO_REFUSED)
            if not done:
                return fault
            self._call = self._servo.pause(False)
            self._go_to(ArmingStep.UNPAUSE, now)
        if self.step is ArmingStep.UNPAUSE:
            fault, done = self._called(now, _SERVO_REFUSED)
            if not done:
                return fault
            self._go_to(ArmingStep.STATUS, now)
        if self.step is ArmingStep.STATUS:
            if servo_heard is None or servo_heard < self._since:
                if now - self._since > self._status_timeout:
                    return Fault(
                        "servo_lost",
                        f"Servo was unpaused but sent no status for {self._status_timeout} s",
                        "check servo_node's log and the remapping of its status topic, then "
                        "activate again",
                    )
            elif missing:
                # Something went away meanwhile.
                return self._inputs_missing(now, missing)
            else:
                self._go_to(ArmingStep.DONE, now)
        return None

    def _choose_command_type(self, now: float) -> None:
        self._call = self._servo.switch_command_type()
        self._go_to(ArmingStep.COMMAND_TYPE, now)

    def _go_to(self, step: ArmingStep, now: float) -> None:
        self.step = step
        self._since = now

    def _inputs_missing(self, now: float, missing: Sequence[str]) -> Fault | None:
        if now - self._since <= self._input_timeout:
            return None
        return Fault(
            "not_ready",
            f"not ready after {self._input_timeout} s: {'; '.join(missing)}",
            "start what is missing or correct the remapping, then activate again",
        )

    def _called(self, now: float, refusal: tuple[str, str]) -> tuple[Fault | None, bool]:
        """How the call under way stands; `refusal` holds code and cure of its failure."""
        assert self._call is not None
        state = self._call.poll(now)
        if state is CallState.FAILED:
            code, cure = refusal
            return Fault(code, self._call.message, cure), False
        return None, state is CallState.DONE
