"""Watches the arm's own state: mode, errors, what it touches, its connection. No ROS."""

from __future__ import annotations

import math
from dataclasses import dataclass

from twist_policy_node.watchdogs import Fault, WatchdogLimits, stamped_ahead

MODES = (
    "other",
    "idle",
    "move",
    "guiding",
    "reflex",
    "user stopped",
    "automatic error recovery",
)
"""Modes of twist_msgs/msg/RobotState by number."""
MOVE = 2
"""The one mode in which the arm obeys commands."""

_MODE_CURES = {
    "idle": "activate the trajectory controller (ros2 control list_controllers)",
    "guiding": "let go of the guiding button",
    "reflex": "look what the arm ran into, then recover it (~/recover of the robot_state node)",
    "user stopped": "release the emergency stop or the enabling device",
    "automatic error recovery": "wait until it is over",
}
_RECOVER = "look at the arm, then recover it (~/recover of the robot_state node)"


@dataclass(frozen=True)
class RobotReading:
    """One state of the arm.

    Attributes:
        mode: number of the mode; see `MODES`.
        errors: names of the errors that are present.
        contact_force: length of the external force, newtons.
        force: the external force, newtons, base frame, (3,). Its sign is the driver's: a Franka
            arm tells what it presses with, the twin what presses on it.
        success_rate: share of the last commands that arrived, 0 to 1.
        captured: when it was measured, seconds on the steady clock.
        received: when it arrived, seconds on the steady clock.
    """

    mode: int
    errors: tuple[str, ...]
    contact_force: float
    force: tuple[float, float, float]
    success_rate: float
    captured: float
    received: float


class RobotWatchdog:
    """An arm that does not obey, has an error, touches something hard, or is badly connected.

    Args:
        limits: when to stop.
        required: whether a state must be there; otherwise it is watched from the first one on.
    """

    def __init__(self, limits: WatchdogLimits, *, required: bool) -> None:
        self._limits = limits
        self._required = required
        self.reset(None, 0.0)

    def reset(self, reading: RobotReading | None, now: float) -> None:
        """Starts from the newest state, if there is one."""
        self._last = reading
        self._began = now
        self._poor_since: float | None = None

    def state(self, reading: RobotReading) -> Fault | None:
        """A state arrived."""
        self._last = reading
        return self.check_start(reading) or self._connection(reading)

    def check_start(self, reading: RobotReading) -> Fault | None:
        """What can be said about a single state."""
        if reading.errors:
            return Fault("robot_error", f"the arm reports {', '.join(reading.errors)}", _RECOVER)
        if reading.mode != MOVE:
            mode = MODES[reading.mode] if 0 <= reading.mode < len(MODES) else str(reading.mode)
            return Fault(
                "robot_mode",
                f"the arm is in mode {mode}, in which it obeys no command",
                f"{_MODE_CURES.get(mode, 'check the arm in Desk')}, then activate again",
            )
        for name, value, valid in (
            ("contact force", reading.contact_force, not math.isnan(reading.contact_force)),
            ("external force", reading.force, all(map(math.isfinite, reading.force))),
            ("command success rate", reading.success_rate, math.isfinite(reading.success_rate)),
        ):
            if not valid:
                return Fault(
                    "robot_invalid",
                    f"the arm's {name} is {value}",
                    "check the robot driver, then activate again",
                )
        ahead = reading.captured - reading.received
        if ahead > self._limits.clock_tolerance:
            return Fault(
                "robot_clock", *stamped_ahead("a state of the arm", "robot", ahead, self._limits)
            )
        if reading.contact_force > self._limits.contact_force:
            return Fault(
                "contact_force",
                f"the arm feels an external force of {reading.contact_force:.1f} N (limit "
                f"{self._limits.contact_force:g} N)",
                "look what it touches; if nothing, check load and end effector as set in Desk, "
                "then activate again",
            )
        return None

    def _connection(self, reading: RobotReading) -> Fault | None:
        if reading.success_rate >= self._limits.success_rate:
            self._poor_since = None
            return None
        if self._poor_since is None:
            self._poor_since = reading.received
        poor = reading.received - self._poor_since
        if poor < self._limits.success_time:
            return None
        return Fault(
            "robot_connection",
            f"only {reading.success_rate:.0%} of the commands have reached the arm for "
            f"{poor:.2f} s (limit {self._limits.success_rate:.0%})",
            "check the real-time kernel, the network cable and the load of this machine, then "
            "activate again",
        )

    def check(self, now: float) -> Fault | None:
        """Time passed."""
        if self._last is None:
            if not self._required or now - self._began <= self._limits.robot_age:
                return None
            found = f"no state of the arm for {now - self._began:.3f} s"
        else:
            age = max(now - self._last.received, now - self._last.captured)
            if age <= self._limits.robot_age:
                return None
            found = f"the newest state of the arm is {age:.3f} s old"
        return Fault(
            "robot_silent",
            f"{found} (limit {self._limits.robot_age} s)",
            "check the robot driver and the robot_state node, then activate again",
        )
