"""What a motion is to those who wait for one: started, polled, perhaps cancelled. No ROS."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from twist_robot.motion.joint_targets import FloatArray, JointTarget


class MotionState(enum.Enum):
    """How a motion stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Motion(Protocol):
    """A motion under way.

    Attributes:
        message: why it failed, with cause and cure.
    """

    message: str

    def poll(self, now: float) -> MotionState:
        """How it stands at `now`, seconds on the steady clock; never waits."""

    def cancel(self) -> None:
        """Asks that the arm stops where it is; harmless when it is over."""


@dataclass(frozen=True)
class MotionRequest:
    """What is asked of a mover.

    Attributes:
        start: measured joint positions, radians, 7 numbers.
        via: a target to pass on the way, or None.
        target: where to go.
    """

    start: FloatArray
    via: JointTarget | None
    target: JointTarget

    @property
    def waypoints(self) -> tuple[JointTarget, ...]:
        """`via`, if there is one, and `target`."""
        return (self.target,) if self.via is None else (self.via, self.target)


class Mover(Protocol):
    """One way of moving the arm.

    Attributes:
        cancels_at_once: whether a motion that is cancelled ends before its way is over.
    """

    cancels_at_once: bool

    def missing(self) -> str:
        """What is not there yet, in words; empty when a motion can start."""

    def start(self, request: MotionRequest, now: float) -> Motion:
        """Starts a motion; what goes wrong is told by the motion."""

    def hold(self, where: JointTarget, now: float) -> Motion | None:
        """Makes the arm's controller hold it there instead of pulling it on to the last target.

        Args:
            where: the arm stands.
            now: seconds on the steady clock.

        Returns:
            None where nothing pulls once a motion has ended.
        """

    def unsettled(self, now: float) -> str:
        """What a motion that was given up may still do, with the cure; empty when nothing.

        It goes on asking that the motion is cancelled; nothing may be started meanwhile.
        """


class FailedMotion:
    """A motion that could not be started."""

    def __init__(self, message: str) -> None:
        self.message = message

    def poll(self, now: float) -> MotionState:
        """Failed."""
        return MotionState.FAILED

    def cancel(self) -> None:
        """Nothing moves."""


class MotionSequence:
    """Motions one after the other; the first one that fails is the last one.

    Args:
        stages: each starts one motion, at a time in seconds; at least one.
        now: seconds on the steady clock.
        finally_: starts what comes at the end in any case, also after a failure.
    """

    def __init__(
        self,
        stages: Sequence[Callable[[float], Motion]],
        now: float,
        finally_: Callable[[float], Motion] | None = None,
    ) -> None:
        self.message = ""
        self._stages = list(stages)
        self._finally = finally_
        self._closing = False
        self._cancelled = False
        self._current = self._stages.pop(0)(now)

    def poll(self, now: float) -> MotionState:
        """How it stands."""
        state = self._current.poll(now)
        if state is MotionState.RUNNING:
            return state
        if state is MotionState.FAILED:
            self.message = "; ".join(filter(None, (self.message, self._current.message)))
        if self._closing:
            return self._ending()
        if not self.message and not self._cancelled and self._stages:
            self._current = self._stages.pop(0)(now)
            return MotionState.RUNNING
        if self._finally is None:
            return self._ending()
        self._closing = True
        self._current = self._finally(now)
        return MotionState.RUNNING

    def cancel(self) -> None:
        """Cancels the stage under way; later ones do not start."""
        self._cancelled = True
        if not self._closing:
            self._current.cancel()

    def _ending(self) -> MotionState:
        if self._cancelled and not self.message:
            self.message = "cancelled"
        return MotionState.FAILED if self.message else MotionState.DONE
