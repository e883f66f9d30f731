"""The twin's camera: renders frames in a thread of its own, newest request first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twist_sim.appearance import Appearance

FloatArray = NDArray[np.float64]
Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class FrameRequest:
    """One moment to take a picture of.

    Attributes:
        render_state: the world, as the renderer takes it.
        appearance: look of the scene and of the camera.
        stamp: time of the moment, nanoseconds.
        delivered: set once the frame was delivered.
    """

    render_state: FloatArray
    appearance: Appearance
    stamp: int
    delivered: threading.Event = field(default_factory=threading.Event)


class CameraError(RuntimeError):
    """The camera cannot take pictures any more."""


TakePicture = Callable[[FloatArray, Appearance], Frame]


class CameraWorker:
    """Takes pictures without holding up the physics.

    A request that arrives while another is waiting replaces it: the camera drops frames when the
    machine is too slow, it never falls behind.

    Args:
        open_camera: called once in the camera's thread (GL contexts belong to threads); returns
            a context manager whose value renders (render_state, appearance) into a (H, W, 3)
            uint8 frame; it is left in the same thread.
        deliver: called in the camera's thread with each frame and its stamp.
    """

    def __init__(
        self,
        open_camera: Callable[[], AbstractContextManager[TakePicture]],
        deliver: Callable[[Frame, int], None],
    ) -> None:
        self._open_camera = open_camera
        self._deliver = deliver
        self._condition = threading.Condition()
        self._waiting: FrameRequest | None = None
        self._closing = False
        self._failure: Exception | None = None
        self._opened = threading.Event()
        self.dropped = 0
        """Requests that were replaced before they were rendered."""
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    def wait_until_open(self, timeout: float) -> None:
        """Waits until pictures can be taken.

        Raises:
            CameraError: the camera did not open, or not in time.
        """
        if not self._opened.wait(timeout):
            raise CameraError(f"the renderer did not start within {timeout} s")
        self.check()

    def check(self) -> None:
        """Does nothing while the camera works.

        Raises:
            CameraError: it has failed; the cause is attached.
        """
        if self._failure is not None:
            raise CameraError(f"the camera failed: {self._failure}") from self._failure

    def request(self, request: FrameRequest) -> None:
        """Asks for a picture; returns at once."""
        with self._condition:
            if self._waiting is not None:
                self.dropped += 1
            self._waiting = request
            self._condition.notify()

    def close(self) -> None:
        """Ends the thread after the picture it is taking."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        try:
            with self._open_camera() as take_picture:
                self._opened.set()
                while (request := self._next()) is not None:
                    frame = take_picture(request.render_state, request.appearance)
                    self._deliver(frame, request.stamp)
                    request.delivered.set()
        except Exception as error:
            # Whatever it was, the node's thread has to learn of it and end the process.
            self._failure = error
        finally:
            self._opened.set()

    def _next(self) -> FrameRequest | None:
        with self._condition:
            self._condition.wait_for(lambda: self._closing or self._waiting is not None)
            request, self._waiting = self._waiting, None
            return None if self._closing else request
