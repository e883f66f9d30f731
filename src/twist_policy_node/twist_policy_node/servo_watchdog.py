"""What MoveIt Servo's status codes mean for the arm, and when they stop it. No ROS."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass

from twist_policy_node.watchdogs import Fault, WatchdogLimits


class Effect(enum.Enum):
    """What Servo does with the commands."""

    FOLLOWS = "follows"
    SLOWS = "slows"
    HALTS = "halts"


@dataclass(frozen=True)
class ServoCode:
    """One status code.

    Attributes:
        name: Servo's name for it.
        effect: what Servo does with the commands.
        cure: what a person should do when it lasts.
    """

    name: str
    effect: Effect
    cure: str = ""


_SINGULARITY = (
    "the arm is stretched out or folded: move it home, and check the workspace against its reach"
)
_COLLISION = (
    "move the arm away by hand or home it (Servo blocks the retreat as well), and check the "
    "planning scene: the pushed object must not be in it"
)

CODES: Mapping[int, ServoCode] = {
    -1: ServoCode(
        "INVALID",
        Effect.HALTS,
        "check the commands' frame (base_frame), that they carry fresh stamps of Servo's clock, "
        "and that IK finds a solution there",
    ),
    0: ServoCode("NO_WARNING", Effect.FOLLOWS),
    1: ServoCode("DECELERATE_FOR_APPROACHING_SINGULARITY", Effect.SLOWS, _SINGULARITY),
    2: ServoCode("HALT_FOR_SINGULARITY", Effect.HALTS, _SINGULARITY),
    3: ServoCode("DECELERATE_FOR_LEAVING_SINGULARITY", Effect.SLOWS, _SINGULARITY),
    4: ServoCode("DECELERATE_FOR_COLLISION", Effect.SLOWS, _COLLISION),
    5: ServoCode("HALT_FOR_COLLISION", Effect.HALTS, _COLLISION),
    6: ServoCode(
        "JOINT_BOUND",
        Effect.HALTS,
        "a joint is at its limit: move the arm home, and check workspace and joint_limit_margins",
    ),
}
"""Codes of moveit_msgs/msg/ServoStatus (MoveIt 2 Jazzy)."""


def servo_code(code: int) -> ServoCode:
    """The meaning of a code. One that nobody knows counts as a halt."""
    known = CODES.get(code)
    if known is not None:
        return known
    return ServoCode(
        f"unknown code {code}",
        Effect.HALTS,
        "this version of MoveIt Servo is not known: use MoveIt 2 of Jazzy, or of Humble with "
        "servo_api humble",
    )


class ServoWatchdog:
    """Servo that is gone, or refuses to move the arm.

    Slowing is Servo's own answer to something it nears, and the leash keeps targets from running
    away from a slow arm: it is told (`slowed_by`), and does not stop the policy.
    """

    def __init__(self, limits: WatchdogLimits) -> None:
        self._limits = limits
        self._received = math.nan
        self._halted_since: float | None = None
        self.slowed_by = ""
        """Why Servo slows the arm now; empty while it does not."""

    def reset(self, heard: float) -> None:
        """Starts; Servo was heard of last at `heard`, seconds."""
        self._received = heard
        self._halted_since = None
        self.slowed_by = ""

    def status(self, code: int, message: str, now: float) -> Fault | None:
        """A status of Servo arrived."""
        self._received = now
        meaning = servo_code(code)
        self.slowed_by = meaning.name if meaning.effect is Effect.SLOWS else ""
        if meaning.effect is not Effect.HALTS:
            self._halted_since = None
            return None
        if self._halted_since is None:
            self._halted_since = now
        halted = now - self._halted_since
        if halted < self._limits.servo_halt:
            return None
        return Fault(
            "servo_halt",
            f"Servo has not moved the arm for {halted:.2f} s: {meaning.name} ({message})",
            f"{meaning.cure}, then activate again",
        )

    def check(self, now: float) -> Fault | None:
        """Time passed."""
        silence = now - self._received
        if silence > self._limits.servo_silence:
            return Fault(
                "servo_lost",
                f"no status from Servo for {silence:.3f} s (limit {self._limits.servo_silence} s)",
                "start servo_node again or check who paused it, then activate again",
            )
        return None
