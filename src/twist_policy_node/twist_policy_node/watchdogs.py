"""Watchdogs: each knows one way in which the world outside can fail. No ROS, no clocks.

Times are seconds on one steady clock, given by the caller. A watchdog returns a `Fault` when its
limit is exceeded and None otherwise; what happens then is `twist_policy_node.control_loop`'s
business.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twist_policy_node.commands import ToolPose

_CONTRAST_STRIDE = 8
_GLANCE_STRIDE = 97
_FRAME_PERIOD = 1 / 30
"""Of the cameras that limits in frames are made for, seconds."""


@dataclass(frozen=True)
class Fault:
    """Why the arm is stopped.

    Attributes:
        code: short and stable, for programs, e.g. ``camera_silent``.
        cause: what was found and what was expected.
        cure: what a person should do.
    """

    code: str
    cause: str
    cure: str

    def __str__(self) -> str:
        return f"{self.cause}; {self.cure} [{self.code}]"


@dataclass(frozen=True)
class WatchdogLimits:
    """When to stop. Times in seconds, distances in metres, angles in radians.

    Attributes:
        frame_age: largest age of the newest frame.
        frame_interval: largest time without a new frame.
        frozen_frames: this many identical frames in a row stop the arm.
        min_contrast: standard deviation of grey levels (0..255) below which a frame is blank.
        blank_frames: this many blank frames in a row stop the arm.
        clock_tolerance: how far in the future a stamp may lie.
        pose_age: largest age of the newest end-effector pose.
        pose_jump: largest distance between two poses in a row.
        tool_tilt: largest angle between the measured and the held tool orientation.
        inference_time: longest time a policy step may take.
        inference_overruns: this many slow policy steps in a row stop the arm.
        surprise_slow: surprise above which the arm is slowed, nats.
        surprise_stop: surprise above which the arm is stopped, nats.
        surprise_steps: this many steps in a row above ``surprise_stop`` stop the arm.
        surprise_grace_steps: first steps of an episode, in which surprise does not count: the
            world model has seen nothing yet.
        servo_silence: longest time without a status of Servo.
        servo_halt: how long Servo may report that it does not move the arm.
        robot_age: largest age of the arm's own state.
        contact_yield: external force above which the tool gives way, newtons; see
            `twist_policy.action_gate.ActionGate`.
        contact_force: largest external force on the arm, newtons.
        success_rate: smallest share of commands that have to reach the arm.
        success_time: how long a smaller share may last.
    """

    frame_age: float = 0.2
    frame_interval: float = 0.17
    frozen_frames: int = 5
    min_contrast: float = 4.0
    blank_frames: int = 3
    clock_tolerance: float = 0.05
    pose_age: float = 0.17
    pose_jump: float = 0.05
    tool_tilt: float = 0.35
    inference_time: float = 0.08
    inference_overruns: int = 3
    surprise_slow: float = 60.0
    surprise_stop: float = 120.0
    surprise_steps: int = 3
    surprise_grace_steps: int = 5
    servo_silence: float = 0.17
    servo_halt: float = 0.3
    robot_age: float = 0.2
    contact_yield: float = 15.0
    contact_force: float = 30.0
    success_rate: float = 0.8
    success_time: float = 0.3


_CAMERA_CURE = "check the camera's node and cable and the topic's remapping, then activate again"
_POSE_CURE = "check the robot driver and the topic's remapping, then activate again"


class FrameTimingWatchdog:
    """Frames that come no more, come late, or carry stamps of another clock."""

    def __init__(self, limits: WatchdogLimits) -> None:
        self._limits = limits
        self._captured = math.nan
        self._received = math.nan

    def reset(self, captured: float, received: float) -> None:
        """Starts from a frame that is known to be fresh."""
        self._captured, self._received = captured, received

    def frame(self, captured: float, received: float) -> Fault | None:
        """A frame arrived."""
        self._captured, self._received = captured, received
        ahead = captured - received
        if ahead > self._limits.clock_tolerance:
            return Fault(
                "camera_clock", *stamped_ahead("a camera frame", "camera", ahead, self._limits)
            )
        return self._age(received)

    def check(self, now: float) -> Fault | None:
        """Time passed."""
        silence = now - self._received
        if silence > self._limits.frame_interval:
            return Fault(
                "camera_silent",
                f"no camera frame for {silence:.3f} s (limit {self._limits.frame_interval} s)",
                _CAMERA_CURE,
            )
        return self._age(now)

    def _age(self, now: float) -> Fault | None:
        age = now - self._captured
        if age > self._limits.frame_age:
            return Fault(
                "camera_stale",
                f"the newest camera frame is {age:.3f} s old (limit {self._limits.frame_age} s)",
                "look for a slow network or an overloaded machine between camera and policy, or a "
                "camera whose clock is behind, then activate again",
            )
        return None


class FrozenImageWatchdog:
    """The same picture again and again under fresh stamps; a living camera has noise.

    The limit is a number of frames of a 30 Hz camera. Of a slower one, three frames that span as
    long a time count as well, so that it does not take longer to stop.
    """

    def __init__(self, limits: WatchdogLimits) -> None:
        self._limits = limits
        self.reset()

    def reset(self) -> None:
        """Forgets the last frame."""
        self._last: NDArray[np.uint8] | None = None
        self._identical = 1
        self._since = 0.0

    def frame(self, pixels: NDArray[np.uint8], now: float) -> Fault | None:
        """A frame (H, W, 3) arrived at `now`, seconds. It is kept, not copied."""
        last, self._last = self._last, pixels
        if last is None or not _same(last, pixels):
            self._identical, self._since = 1, now
            return None
        self._identical += 1
        limit = self._limits.frozen_frames
        slow = self._identical >= 3 and now - self._since > (limit - 1) * _FRAME_PERIOD
        if self._identical >= limit or slow:
            return Fault(
                "camera_frozen",
                f"{self._identical} camera frames in a row are identical to the last pixel though "
                "their stamps are fresh",
                "restart the camera (a frozen driver repeats its last frame), then activate again; "
                "for a camera without noise raise frozen_frame_limit",
            )
        return None


def _same(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    # A glance at a few rows tells nearly all differing frames apart for nearly nothing.
    glance = slice(None, None, _GLANCE_STRIDE)
    return bool(np.array_equal(a[glance], b[glance])) and bool(np.array_equal(a, b))


class BlankImageWatchdog:
    """Black, white or otherwise featureless frames: nothing can be seen on them."""

    def __init__(self, limits: WatchdogLimits) -> None:
        self._limits = limits
        self.reset()

    def reset(self) -> None:
        """Forgets earlier frames."""
        self._blank = 0

    @property
    def last_was_blank(self) -> bool:
        """Whether nothing could be seen on the last frame; it must not be decided on."""
        return self._blank > 0

    def frame(self, pixels: NDArray[np.uint8]) -> Fault | None:
        """A frame (H, W, 3) arrived."""
        grid = pixels[::_CONTRAST_STRIDE, ::_CONTRAST_STRIDE].astype(np.float32)
        # Per channel, so that a plain coloured picture counts as blank too.
        contrast = float(grid.std(axis=(0, 1)).max())
        if contrast >= self._limits.min_contrast:
            self._blank = 0
            return None
        self._blank += 1
        if self._blank >= self._limits.blank_frames:
            mean = float(grid.mean())
            look = "black" if mean < 20 else "white" if mean > 235 else "featureless"
            return Fault(
                "camera_blank",
                f"{self._blank} camera frames in a row are {look} (mean {mean:.0f}, contrast "
                f"{contrast:.1f}, at least {self._limits.min_contrast} expected)",
                "take the lens cap off, check light, exposure and what stands before the camera, "
                "then activate again",
            )
        return None


class PoseWatchdog:
    """End-effector poses that come no more, jump, or show a tilted tool."""

    def __init__(self, limits: WatchdogLimits) -> None:
        self._limits = limits
        self._last: ToolPose | None = None

    def reset(self, pose: ToolPose) -> None:
        """Starts from a pose that is known to be fresh."""
        self._last = pose

    def pose(self, pose: ToolPose, tilt: float) -> Fault | None:
        """A pose arrived; `tilt` is its angle to the held orientation."""
        last, self._last = self._last, pose
        fault = self.check_start(pose, tilt)
        if fault is not None or last is None:
            return fault
        jump = math.dist(pose.tool_tip.tolist(), last.tool_tip.tolist())
        if jump > self._limits.pose_jump:
            return Fault(
                "pose_jump",
                f"the measured tool position jumped by {jump:.3f} m from one message to the next "
                f"(limit {self._limits.pose_jump} m)",
                "make sure that one node alone publishes the end-effector pose, check the robot, "
                "then activate again",
            )
        return None

    def check_start(self, pose: ToolPose, tilt: float) -> Fault | None:
        """What can be said about a single pose."""
        numbers = [*pose.tool_tip.tolist(), *pose.orientation.tolist()]
        if not all(map(math.isfinite, numbers)):
            return pose_invalid(f"the measured pose holds {numbers}")
        ahead = pose.captured - pose.received
        if ahead > self._limits.clock_tolerance:
            return Fault(
                "pose_clock", *stamped_ahead("an end-effector pose", "robot", ahead, self._limits)
            )
        if tilt > self._limits.tool_tilt:
            return Fault(
                "tool_tilt",
                f"the tool is turned by {math.degrees(tilt):.0f} degrees from the orientation it "
                f"is held in (limit {math.degrees(self._limits.tool_tilt):.0f})",
                "check for a collision, move the arm home, then activate again",
            )
        return None

    def check(self, now: float) -> Fault | None:
        """Time passed."""
        if self._last is None:
            return None
        silence, age = now - self._last.received, now - self._last.captured
        if max(silence, age) <= self._limits.pose_age:
            return None
        found = (
            f"no end-effector pose for {silence:.3f} s"
            if silence > self._limits.pose_age
            else f"the newest end-effector pose is {age:.3f} s old"
        )
        return Fault("pose_silent", f"{found} (limit {self._limits.pose_age} s)", _POSE_CURE)


def stamped_ahead(what: str, whose: str, ahead: float, limits: WatchdogLimits) -> tuple[str, str]:
    """What was found, and the cure, where a message's stamp lies in the future.

    Args:
        what: the message, with its article.
        whose: machine that stamps it.
        ahead: seconds.
        limits: with the tolerance.
    """
    return (
        f"{what} is stamped {ahead:.3f} s in the future (tolerance {limits.clock_tolerance} s)",
        f"synchronise the clocks of the {whose}'s and this machine (chrony), and use one of wall "
        "time and simulated time everywhere",
    )


def pose_invalid(found: str) -> Fault:
    """The fault for a pose that means nothing."""
    return Fault("pose_invalid", found, _POSE_CURE)


class InferenceWatchdog:
    """Policy steps that take too long."""

    def __init__(self, limits: WatchdogLimits) -> None:
        self._limits = limits
        self.reset()

    def reset(self) -> None:
        """Forgets earlier steps."""
        self._overruns = 0

    def step(self, duration: float) -> Fault | None:
        """A policy step took `duration` seconds."""
        if duration <= self._limits.inference_time:
            self._overruns = 0
            return None
        self._overruns += 1
        if self._overruns >= self._limits.inference_overruns:
            return Fault(
                "inference_slow",
                f"{self._overruns} policy steps in a row took longer than "
                f"{self._limits.inference_time} s, the last one {duration:.3f} s",
                "free the machine of other load or use a faster one, then activate again",
            )
        return None


class SurpriseWatchdog:
    """Frames that contradict the world model: slows the arm first, then stops it."""

    def __init__(self, limits: WatchdogLimits) -> None:
        self._limits = limits
        self.reset()

    def reset(self) -> None:
        """Starts an episode."""
        self._steps = 0
        self._above = 0
        self.speed_scale = 1.0
        """1 is full speed; less when surprised, never below 0.2."""

    def step(self, surprise: float) -> Fault | None:
        """A policy step was surprised by this much, nats."""
        limits = self._limits
        self._steps += 1
        if self._steps <= limits.surprise_grace_steps:
            return None
        excess = (surprise - limits.surprise_slow) / (limits.surprise_stop - limits.surprise_slow)
        self.speed_scale = 1.0 - 0.8 * min(max(excess, 0.0), 1.0)
        self._above = self._above + 1 if surprise > limits.surprise_stop else 0
        if self._above >= limits.surprise_steps:
            return Fault(
                "surprise",
                f"the camera contradicts the world model: surprise {surprise:.0f} nats, above "
                f"{limits.surprise_stop:.0f} for {self._above} steps in a row",
                "check that nothing is in the way, the camera's pose and the light, then activate "
                "again",
            )
        return None
