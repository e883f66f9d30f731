"""Pictures from a ROS topic, for the commands."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image

from twist_camera.charuco_board import Image as Picture
from twist_camera.collecting import LabError
from twist_nodes.endpoints import subscribe_newest
from twist_nodes.spinning import spinning_node

_CHANNELS = {"rgb8": 3, "bgr8": 3}


def picture_of(message: Any) -> Picture:
    """The pixels of a sensor_msgs/Image, RGB, (H, W, 3); a copy.

    Raises:
        LabError: not rgb8 or bgr8, or bytes are missing.
    """
    channels = _CHANNELS.get(message.encoding)
    row = message.width * 3
    data = np.frombuffer(message.data, dtype=np.uint8)
    if channels is None or message.step < row or data.size < message.step * message.height:
        raise LabError(
            f"a picture of {message.width}x{message.height} {message.encoding!r} with "
            f"{data.size} bytes cannot be used; set the camera's colour format to rgb8"
        )
    rows = data[: message.step * message.height].reshape(message.height, message.step)
    pixels = rows[:, :row].reshape(message.height, message.width, 3)
    return pixels[:, :, ::-1].copy() if message.encoding == "bgr8" else pixels.copy()


class FrameCollector:
    """Collects the pictures of one topic that were taken from a moment on.

    Args:
        node: owns the subscription.
        topic: sensor_msgs/Image.
    """

    def __init__(self, node: Node, topic: str) -> None:
        self._node = node
        self.topic = node.resolve_topic_name(topic)
        self._changed = threading.Condition()
        self._wanted = 0
        self._since = 0
        self._pictures: list[Picture] = []
        self._error: LabError | None = None
        self._subscription = subscribe_newest(node, Image, topic, self._on_image)

    def destroy(self) -> None:
        """Ends the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _on_image(self, message: Image) -> None:
        stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        with self._changed:
            if self._wanted <= len(self._pictures) or stamp < self._since:
                return
            try:
                self._pictures.append(picture_of(message))
            except LabError as error:
                self._error = error
            self._changed.notify_all()

    def take(self, count: int, timeout: float) -> list[Picture]:
        """The next `count` pictures whose stamps are not older than this call.

        Another thread has to spin the node.

        Raises:
            LabError: they do not come, or cannot be used.
        """
        end = time.monotonic() + timeout
        with self._changed:
            self._since = self._node.get_clock().now().nanoseconds
            self._pictures, self._error, self._wanted = [], None, count
            while len(self._pictures) < count and self._error is None:
                if not self._changed.wait(max(0.0, end - time.monotonic())):
                    publishers = self._node.count_publishers(self.topic)
                    raise LabError(
                        f"{len(self._pictures)} of {count} fresh pictures on {self.topic} within "
                        f"{timeout:g} s ({publishers} publishers); is the camera running, in this "
                        "ROS_DOMAIN_ID, and do its stamps count the same time as this computer?"
                    )
            self._wanted = 0
            if self._error is not None:
                raise self._error
            return self._pictures


def take_frames(topic: str, count: int, timeout: float = 10.0) -> list[Picture]:
    """The next pictures of a topic, by a node made for it.

    Raises:
        LabError: they do not come, or cannot be used.
    """
    with spinning_node("twist_camera_frames") as node:
        return FrameCollector(node, topic).take(count, timeout)
