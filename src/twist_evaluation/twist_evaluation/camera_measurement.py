"""Live pictures measured by the observer: what the camera says about the world as it is now."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from twist_evaluation.judge import JudgeError
from twist_evaluation.observer.colours import Image
from twist_evaluation.observer.pictures import draw_observation
from twist_evaluation.observer.table_camera import TableCamera
from twist_evaluation.observer.table_observer import Observation, ObserverRefusal
from twist_evaluation.observer.verdict import is_clear

_PICTURES = 3


class Observer(Protocol):
    """Measures cube and goal in a picture, as `TableObserver`."""

    camera: TableCamera
    needs_clear_view: bool
    """Whether the arm has to be out of the picture."""

    def observe(self, frame: Image) -> Observation:
        """Measures, or raises `ObserverRefusal`."""


@dataclass(frozen=True)
class StampedFrame:
    """A camera picture.

    Attributes:
        stamp: seconds, when it was taken.
        frame: (H, W, 3) uint8 RGB.
    """

    stamp: float
    frame: Image


@dataclass(frozen=True)
class Measurement:
    """What the camera says.

    Attributes:
        observation: of the middle one of the pictures; None when it was refused.
        distance: metres; NaN when refused.
        deviation: metres, standard deviation of the distance; NaN when refused.
        success: whether the limit is kept; None when refused or too close to the limit to call.
        reason: why there is no `success`; empty when there is.
        frame: the picture.
    """

    observation: Observation | None
    distance: float
    deviation: float
    success: bool | None
    reason: str
    frame: Image


class CameraMeasurement:
    """Measures the distance between cube and goal in the newest pictures.

    Args:
        latest: returns the last picture received, or None.
        now: the clock of the stamps, seconds.
        observer: measures.
        limit: largest distance that is a success, metres.
        timeout: seconds to wait for each fresh picture.
        topic: where pictures come from, for messages.
        wait: sleeps; replaced in tests.
    """

    def __init__(
        self,
        latest: Callable[[], StampedFrame | None],
        now: Callable[[], float],
        observer: Observer,
        limit: float,
        *,
        timeout: float = 2.0,
        topic: str = "camera/camera/color/image_raw",
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.observer = observer
        self.limit = limit
        self._latest = latest
        self._now = now
        self._timeout = timeout
        self._topic = topic
        self._wait = wait

    def fresh_frame(self) -> StampedFrame:
        """The first picture taken after the call.

        Raises:
            JudgeError: none comes.
        """
        asked = self._now()
        while True:
            frame = self._latest()
            if frame is not None and frame.stamp > asked:
                return frame
            if self._now() - asked > self._timeout:
                raise JudgeError(
                    f"no picture on {self._topic} within {self._timeout:g} s: is the camera "
                    "running, and does its clock agree with this machine's?"
                )
            self._wait(0.01)

    def measure(self, picture: Path | None = None) -> Measurement:
        """Measures in three fresh pictures and takes the middle one of the distances.

        Args:
            picture: where to save the picture with what was measured in it; None saves none.

        Raises:
            JudgeError: no fresh picture comes, or `picture` cannot be written.
        """
        seen: list[Observation] = []
        refusal = ""
        for _ in range(_PICTURES):
            frame = self.fresh_frame().frame
            try:
                seen.append(self.observer.observe(frame))
            except ObserverRefusal as error:
                refusal = str(error)
                break
        # Of pictures of a world at rest one that cannot be measured says that none should be.
        observation = None
        distance = deviation = math.nan
        success: bool | None = None
        if not refusal:
            seen.sort(key=lambda one: one.distance)
            observation = seen[len(seen) // 2]
            distance, deviation = observation.distance, observation.deviation
            spread = seen[-1].distance - seen[0].distance
            if spread > 4 * deviation:
                refusal = f"the pictures disagree by {spread * 1000:.0f} mm: does something move?"
            elif is_clear(distance, deviation, self.limit):
                success = distance < self.limit
            else:
                refusal = (
                    f"{distance * 100:.1f} +- {2 * deviation * 100:.1f} cm is too close to the "
                    f"limit of {self.limit * 100:g} cm to call"
                )
        if picture is not None:
            save_picture(draw_observation(frame, self.observer.camera, observation), picture)
        return Measurement(observation, distance, deviation, success, refusal, frame)


def save_picture(picture: Image, path: Path) -> None:
    """Writes a (H, W, 3) uint8 RGB picture as PNG.

    Raises:
        JudgeError: it cannot be written.
    """
    done, data = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    try:
        if not done:
            raise OSError("PNG encoding failed")
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise JudgeError(
            f"the judge's picture cannot be written to {path} ({error.strerror or error}); free "
            "space or make it writable"
        ) from error
