"""The camera's newest picture, and pictures for the operator drawn over it."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import Image as ImageMessage

from twist_evaluation.camera_measurement import StampedFrame
from twist_evaluation.image_frames import FrameError, rgb_frame
from twist_evaluation.observer.colours import Image
from twist_nodes.endpoints import LATCHED, advertise, subscribe_newest

_SHOW_PERIOD = 0.2  # seconds


class LiveCamera:
    """Keeps the newest picture undecoded; publishes ``~/placement`` while there is one to draw.

    Args:
        node: to subscribe on; another thread must spin it.
        topic: of the pictures.
    """

    def __init__(self, node: Node, topic: str) -> None:
        self._node = node
        self._topic = topic
        self._latest: ImageMessage | None = None
        self._drawn: Callable[[Image], Image] | None = None
        self._shown_at = 0.0
        subscribe_newest(node, ImageMessage, topic, self._on_image)
        self._placement = advertise(node, ImageMessage, "~/placement", LATCHED)

    def latest(self) -> StampedFrame | None:
        """The newest picture; None before the first, or when it cannot be decoded."""
        message = self._latest
        if message is None:
            return None
        try:
            frame = rgb_frame(message)
        except FrameError as error:
            self._node.get_logger().warning(str(error), throttle_duration_sec=5.0)
            return None
        return StampedFrame(Time.from_msg(message.header.stamp).nanoseconds / 1e9, frame)

    def show(self, drawn: Callable[[Image], Image] | None) -> None:
        """Publishes what `drawn` makes of each new picture, five times a second; None stops."""
        self._drawn = drawn

    def _on_image(self, message: ImageMessage) -> None:
        seconds = message.header.stamp.sec
        if seconds < 0:  # rclpy has no time before 1970
            self._node.get_logger().warning(
                f"a picture on {self._topic} is skipped: its stamp is {seconds} s, before 1970; "
                "check the clock of the camera's driver",
                throttle_duration_sec=5.0,
            )
            return
        self._latest = message
        drawn, now = self._drawn, time.monotonic()
        if drawn is None or now - self._shown_at < _SHOW_PERIOD:
            return
        self._shown_at = now
        frame = self.latest()
        if frame is None:
            return
        picture = drawn(frame.frame)
        height, width = picture.shape[:2]
        shown = ImageMessage(height=height, width=width, encoding="rgb8", step=3 * width)
        shown.header = message.header
        shown.data.frombytes(picture.tobytes())
        self._placement.publish(shown)
