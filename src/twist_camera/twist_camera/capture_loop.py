"""Keeps a camera's frames coming: reads, checks, starts again after a fault, and gives up clearly.

No ROS in here. While a camera is started again no frame is passed on, so whoever acts on its frames
stops by its own watchdogs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from twist_camera.arrival_watch import ArrivalWatch
from twist_camera.camera_settings import Finding, describe
from twist_camera.device_clock import ClockError, DeviceClock
from twist_camera.realsense_device import CameraLost, DeviceFrame, RealSenseError
from twist_policy.camera_match import CameraIntrinsics


class Camera(Protocol):
    """What `twist_camera.realsense_device.RealSenseCamera` does."""

    def open(self) -> CameraIntrinsics:
        """Starts the stream."""

    def settings(self) -> list[Finding]:
        """Reads the settings back."""

    def read(self, timeout: float) -> DeviceFrame | None:
        """The next frame."""

    def close(self) -> None:
        """Stops the stream."""


@dataclass(frozen=True)
class CaptureRules:
    """When a camera counts as broken.

    Attributes:
        silence: longest time without a frame, seconds.
        frozen: identical frames in a row.
        restarts: how often in a row it is started again.
        restart_delay: seconds before that.
        recovered: seconds of good frames after which restarts are counted anew.
        settings_period: seconds between two looks at the settings.
    """

    silence: float = 0.5
    frozen: int = 5
    restarts: int = 3
    restart_delay: float = 2.0
    recovered: float = 30.0
    settings_period: float = 5.0


class CaptureLoop:
    """Runs one camera.

    Args:
        camera: to run.
        rules: when it counts as broken.
        on_open: gets the calibration whenever the stream was started.
        on_frame: gets each good frame and its ROS time, nanoseconds.
        warn: gets a line for people.
        ros_time: nanoseconds now.
        steady: seconds now.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        camera: Camera,
        rules: CaptureRules,
        *,
        on_open: Callable[[CameraIntrinsics], None],
        on_frame: Callable[[DeviceFrame, int], None],
        warn: Callable[[str], None],
        ros_time: Callable[[], int],
        steady: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._camera = camera
        self._rules = rules
        self._on_open = on_open
        self._on_frame = on_frame
        self._warn = warn
        self._ros_time = ros_time
        self._steady = steady
        self._sleep = sleep
        self._stopping = False
        self.frames = 0
        """Good frames so far."""

    def stop(self) -> None:
        """Makes `run` return soon; from any thread."""
        self._stopping = True

    def run(self) -> None:
        """Until `stop`.

        Raises:
            RealSenseError: the camera does not work, for the last of several times in a row.
        """
        failures = 0
        while not self._stopping:
            began = self._steady()
            try:
                self._stream()
            except CameraLost as error:
                if self._steady() - began > self._rules.recovered:
                    failures = 0
                failures += 1
                if failures > self._rules.restarts:
                    raise RealSenseError(
                        f"{error} (started again {self._rules.restarts} times in vain)"
                    ) from error
                self._warn(
                    f"{error}; starting the camera again ({failures} of {self._rules.restarts})"
                )
                self._sleep(self._rules.restart_delay)
            finally:
                self._camera.close()

    def _stream(self) -> None:
        """Raises: CameraLost: something is wrong that starting again may mend."""
        rules = self._rules
        watch, clock = ArrivalWatch(rules.silence, rules.frozen), DeviceClock()
        self._on_open(self._camera.open())
        # The first frame takes longer than the others.
        watch.begin(self._steady() + 2.0)
        next_look = self._steady() + rules.settings_period
        while not self._stopping:
            frame = self._camera.read(rules.silence / 2)
            now = self._steady()
            if frame is None:
                problem = watch.silence(now)
            else:
                problem = watch.frame(
                    frame.number, frame.domain, frame.milliseconds, frame.pixels, now
                )
            if problem is not None:
                raise CameraLost(problem)
            if frame is not None:
                try:
                    stamp = clock.stamp(frame.domain, frame.milliseconds, self._ros_time())
                except ClockError as error:
                    raise CameraLost(str(error)) from error
                self.frames += 1
                self._on_frame(frame, stamp)
            if now >= next_look:
                next_look = now + rules.settings_period
                wrong = [finding for finding in self._camera.settings() if not finding.good]
                if wrong:
                    raise CameraLost(f"the camera's settings changed:\n{describe(wrong)}")
