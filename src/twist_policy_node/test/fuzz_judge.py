"""Judges what a policy node sends, knowing nothing of how the node decides.

The promises, each of which a `Violation` names: no command before activation or after a stop;
every number finite; every step at most the action bound, in each control period of a slow one its
share, and the tool turned no faster than that allows; every target inside the workspace box (for a
tool that starts beside it: nearer to it than the last) and within the leash of the measured
position; where the arm feels a contact, no target that presses more on it; no motion on a camera,
pose or Servo that was not good within the last 0.2 s; a command lives no longer than it may.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from twist_policy.contract import PolicyContract
from twist_policy_node.tool_frame import rotate, rotation_vector

SLACK = 1e-6
"""Rounding, metres and seconds."""
_SAME = 1e-8
"""Two positions nearer than this are the same target, metres."""
_CLEAR = 1e-3
"""A target nearer to the tool does not tell on which side of it the contact is, metres."""
TICK_SLACK = 0.025
"""A stop is noticed and said by the timer at the command rate, seconds."""


class Violation(AssertionError):
    """A promise is broken."""


@dataclass(frozen=True)
class Seen:
    """The last good thing of a kind."""

    at: float
    tip: np.ndarray | None = None


class Judge:
    """Judges one activation after the other.

    Args:
        contract: the bounds.
        silence: longest age of the last good frame, pose and status under a motion, seconds.
        validity: how long a target may be repeated, seconds.
        hold_time: how long standing still may be commanded, seconds.
        twist: whether commands are twists.
        frame: of every command.
        command_time: least time between two commands of the gripper, seconds.
        step_periods: control periods that a step may take.
    """

    def __init__(
        self,
        contract: PolicyContract,
        *,
        silence: dict[str, float],
        validity: float,
        hold_time: float,
        twist: bool,
        frame: str,
        command_time: float = 0.0,
        step_periods: int = 1,
    ) -> None:
        self._contract = contract
        self._offset = np.asarray(contract.tool_offset)
        self._lower = np.asarray(contract.workspace.lower)
        self._upper = np.asarray(contract.workspace.upper)
        self._silence = silence
        self._validity = validity
        self._hold_time = hold_time
        self._twist = twist
        self._frame = frame
        self._command_time = command_time
        self._step_periods = step_periods
        self._bound = contract.action_bound / step_periods
        self._turn_bound = 0.5 / step_periods
        self.active = False
        """Whether a person has activated, and neither a person nor the node has deactivated."""
        self.commands = 0
        """Commands so far."""
        self.motions = 0
        """Those of them that may move the arm."""
        self.broken: Violation | None = None
        """The first broken promise. The node catches whatever is raised in its callbacks."""
        self._overdue = 0.0
        self.activated()
        self.active = False

    def activated(self) -> None:
        """A person activated the node, and it agreed."""
        self.active = True
        self.stop_at: float | None = None
        """When the arm had to be stopped, seconds; None while it may move."""
        self.stop_because = ""
        self.last: dict[str, Seen] = {}
        self._grip_at = -math.inf
        self._target: np.ndarray | None = None
        self._orientation: np.ndarray | None = None
        self._poses: list[np.ndarray] = []
        self._first_sent = -math.inf
        self._periods_left = 0
        self._held: np.ndarray | None = None
        self._felt: np.ndarray | None = None
        self._side: np.ndarray | None = None

    def deactivated(self) -> None:
        """The node is not active any more."""
        self.active = False

    def good(self, what: str, at: float, tip: np.ndarray | None = None) -> None:
        """A good frame, pose or status was delivered."""
        self.last[what] = Seen(at, tip)
        if tip is not None and self._target is None:
            self._poses.append(tip)

    def feels(self, force: np.ndarray, limit: float) -> None:
        """The arm said what it feels, newtons (3,); above `limit` the tool has to give way."""
        strength = _length(force)
        self._felt = force / strength if strength > limit else None
        if self._felt is None:
            self._side = None
        else:
            self._tell_side(self._felt)

    def _tell_side(self, axis: np.ndarray) -> None:
        """On which side of the tool the contact is: where its target was when it was first felt."""
        pose = self.last.get("pose")
        if self._target is None or self._twist or pose is None or pose.tip is None:
            return
        pressed = float((self._target - pose.tip) @ axis)
        if self._side is not None:
            self._side = math.copysign(1.0, float(self._side @ axis)) * axis
        elif abs(pressed) > _CLEAR:
            self._side = math.copysign(1.0, pressed) * axis

    def watch(self, what: str, limit: float) -> None:
        """From now on motions need a good `what` not older than `limit`, seconds."""
        self._silence = self._silence | {what: limit}

    def must_stop(self, because: str, at: float) -> None:
        """From now on no motion may be commanded until a person activates again."""
        if self.active and self.stop_at is None:
            self.stop_at, self.stop_because = at, because
            pose = self.last.get("pose")
            if pose is not None and pose.tip is not None:
                held = np.clip(pose.tip, self._lower, self._upper)
                near = _length(held - pose.tip) <= self._contract.action_bound + SLACK
                self._held = held if near else None

    # What the node sent.

    def command(self, message: Any, now: float, ros_now: int) -> None:
        """A Servo command was published."""
        self.commands += 1
        with self._noting():
            self._judge_command(message, now, ros_now)

    def step(self, message: Any, now: float) -> None:
        """A decision was published on ~/step, right after its command."""
        self._first_sent, self._overdue = now, 0.0
        self._periods_left = self._step_periods - 1
        with self._noting():
            self._judge_step(message)

    def settle(self) -> None:
        """The node's callback is over."""
        with self._noting():
            overdue, self._overdue = self._overdue, 0.0
            _require(overdue == 0.0, lambda: f"a command is repeated for {overdue:.3f} s")

    def gripper_goal(self, now: float, *, opening: bool) -> None:
        """The gripper was told something.

        An `opening` may be repeated: before the first step, and where the last one was in vain.
        """
        with self._noting():
            _require(self.active, lambda: "a gripper command while the node is not active")
            _require(self.stop_at is None, lambda: "a gripper command after a stop")
            between = now - self._grip_at
            _require(
                # It is counted in control periods, which follow the camera's frames.
                opening or between >= 0.8 * self._command_time,
                lambda: f"two gripper commands within {between:.3f} s",
            )
            if not opening:
                self._grip_at = now

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except Violation as violation:
            self.broken = self.broken or violation

    def _judge_command(self, message: Any, now: float, ros_now: int) -> None:
        _require(self.active, lambda: "a command while the node is not active")
        found = message.header.frame_id
        _require(found == self._frame, lambda: f"a command in frame {found!r}")
        stamp = message.header.stamp
        age = ros_now - stamp.sec * 1_000_000_000 - stamp.nanosec
        _require(age == 0, lambda: f"a command is sent under a stamp that is {age} ns old")
        if self._twist:
            self._judge_twist(message.twist, now)
        else:
            self._judge_pose(message.pose, now)

    def _judge_twist(self, twist: Any, now: float) -> None:
        v = np.array([twist.linear.x, twist.linear.y, twist.linear.z])
        w = np.array([twist.angular.x, twist.angular.y, twist.angular.z])
        _require(_finite(v, w), lambda: f"a twist of {v} m/s, {w} rad/s")
        limit = self._bound / self._contract.control_period
        speed, turn = _length(v), _length(w)
        _require(speed <= limit + SLACK, lambda: f"a twist of {speed} m/s")
        _require(turn <= self._turn_bound + SLACK, lambda: f"a twist of {turn} rad/s")
        if speed == 0 and turn == 0:
            self._may_hold(now)
            return
        now_twist = np.concatenate([v, w])
        if self._target is None or not np.array_equal(now_twist, self._target):
            self._target = now_twist
            self._period_begins(now)
        self._may_move(now, self._contract.control_period)

    def _judge_pose(self, pose: Any, now: float) -> None:
        p, q = pose.position, pose.orientation
        position = np.array([p.x, p.y, p.z])
        turn = np.array([q.w, q.x, q.y, q.z])
        _require(
            _finite(position, turn) and abs(_length(turn) - 1) < SLACK,
            lambda: f"a pose target of {position} m, {turn}",
        )
        tip = position + rotate(turn, self._offset)
        measured = self.last["pose"].tip
        assert measured is not None
        last = measured if self._target is None else self._target
        outside = self._outside(tip)
        _require(
            outside <= max(SLACK, self._outside(last)),
            lambda: f"a target {outside} m outside the workspace: {tip}",
        )
        if self.stop_at is not None and self._is_hold(tip):
            self._may_hold(now)
            return
        if self._orientation is not None:
            angle = _length(rotation_vector(turn, self._orientation))
            most = self._turn_bound * self._contract.control_period + SLACK
            _require(angle <= most, lambda: f"the tool is turned by {angle} rad")
        self._orientation = turn
        if self._target is None or not _near(tip, self._target):
            # The first leads on from where the tool was when arming ended, which only the node
            # knows: from one of the poses since the activation.
            begun = [last, measured] if self._target is not None else self._poses
            step = min(_length(tip - place) for place in begun)
            _require(step <= self._bound + SLACK, lambda: f"a step of {step} m")
            if self._felt is not None and self._target is not None:
                self._judge_contact(self._felt, last, tip, measured)
            self._target = tip
            self._period_begins(now)
            away = _length(tip - measured)
            _require(away <= self._contract.leash + SLACK, lambda: f"a target {away} m away")
        self._may_move(now, self._validity)

    def _judge_contact(
        self, axis: np.ndarray, last: np.ndarray, tip: np.ndarray, measured: np.ndarray
    ) -> None:
        if any(self._outside(place) > 0 for place in (measured, *self._poses)):
            return  # it is led into the workspace, which comes first
        if ((tip <= self._lower + _SAME) | (tip >= self._upper - _SAME)).any():
            return  # likewise at its edge
        self._tell_side(axis)
        axis = axis if self._side is None else self._side
        pressed, presses = float((last - measured) @ axis), float((tip - measured) @ axis)
        further = abs(presses) if self._side is None else presses
        _require(
            further <= max(pressed, _CLEAR) + SLACK,
            lambda: f"it presses on: {presses} m after {pressed} m",
        )

    def _outside(self, tip: np.ndarray) -> float:
        return _length(np.clip(tip, self._lower, self._upper) - tip)

    def _is_hold(self, tip: np.ndarray) -> bool:
        """Whether this stands still where the tool was when the arm had to stop."""
        return self._held is not None and _near(tip, self._held)

    def _may_hold(self, now: float) -> None:
        if self.stop_at is not None:
            late = now - self.stop_at - self._hold_time
            _require(
                late <= 2 * TICK_SLACK,
                lambda: f"standing still is commanded {late} s after its time",
            )

    def _may_move(self, now: float, lifetime: float) -> None:
        self.motions += 1
        _require(
            self.stop_at is None,
            lambda: (
                f"a motion {now - (self.stop_at or now):.3f} s after a stop ({self.stop_because})"
            ),
        )
        age = now - self._first_sent
        frame = self.last.get("frame")
        if self._periods_left and frame is not None and frame.at == now and age >= 0.05:
            # A slow step goes on, by a command that may come to the same as the one before.
            self._period_begins(now)
            age = 0.0
        if age > lifetime + SLACK:
            # Unless it is the first of a decision that comes to the same; that follows at once.
            self._overdue = age
        for what, limit in self._silence.items():
            seen = self.last.get(what)
            old = math.inf if seen is None else now - seen.at
            if old > limit + SLACK:
                raise Violation(f"a motion {old:.3f} s after the last good {what}")

    def _period_begins(self, now: float) -> None:
        self._first_sent = now
        self._periods_left = max(0, self._periods_left - 1)

    def _judge_step(self, message: Any) -> None:
        numbers = np.array([*message.delta, *message.target, *message.measured])
        _require(_finite(numbers), lambda: f"a decision holds {numbers}")
        delta, target, measured = numbers[:3], numbers[3:6], numbers[6:]
        length, away = _length(delta), _length(target - measured)
        _require(length <= self._contract.action_bound + SLACK, lambda: f"a step of {length} m")
        _require(away <= self._contract.leash + SLACK, lambda: f"a target {away} m away")
        inside = bool((target >= self._lower).all() and (target <= self._upper).all())
        _require(inside, lambda: f"a target outside the workspace: {target}")
        pose = self.last.get("pose")
        true = pose is not None and pose.tip is not None and _near(pose.tip, measured)
        _require(true, lambda: f"a decision from {measured}, where the tool was not measured")
        _require(self.active and self.stop_at is None, lambda: "a decision after a stop")


def _require(kept: bool, what: Callable[[], str]) -> None:
    if not kept:
        raise Violation(what())


def _near(a: np.ndarray, b: np.ndarray) -> bool:
    return math.dist(a.tolist(), b.tolist()) < _SAME


def _length(vector: np.ndarray) -> float:
    return math.hypot(*vector.tolist())


def _finite(*vectors: np.ndarray) -> bool:
    return all(math.isfinite(number) for vector in vectors for number in vector.tolist())
