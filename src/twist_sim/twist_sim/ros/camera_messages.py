"""Camera messages without copies beyond the ones that ROS needs."""

from __future__ import annotations

from array import array

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image

from twist_policy.camera_match import CameraIntrinsics
from twist_policy.contract import CameraModel

OPTICAL_FRAME = "camera_color_optical_frame"


def stamp_message(nanoseconds: int) -> Time:
    """A ROS time stamp from nanoseconds."""
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


class ImageComposer:
    """Fills one reused ``rgb8`` image message: publishing serialises it at once.

    Args:
        width: pixels.
        height: pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self._message = Image(
            height=height, width=width, encoding="rgb8", is_bigendian=0, step=3 * width
        )
        self._message.header.frame_id = OPTICAL_FRAME
        self._message.data = array("B", bytes(width * height * 3))
        # The message may have copied the array: what counts is the memory that it holds now.
        pixels = np.frombuffer(self._message.data, dtype=np.uint8)
        self._pixels = pixels.reshape(height, width, 3)

    def compose(self, frame: NDArray[np.uint8], stamp: int) -> Image:
        """The message for a (H, W, 3) RGB frame; valid until the next call."""
        np.copyto(self._pixels, frame)
        self._message.header.stamp = stamp_message(stamp)
        return self._message


def camera_info(camera: CameraModel) -> CameraInfo:
    """The calibration of a pinhole camera without distortion."""
    lens = CameraIntrinsics.from_model(camera)
    message = CameraInfo(height=camera.height, width=camera.width, distortion_model="plumb_bob")
    message.header.frame_id = OPTICAL_FRAME
    message.d = [0.0] * 5
    message.k = [lens.fx, 0.0, lens.cx, 0.0, lens.fy, lens.cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [
        *(lens.fx, 0.0, lens.cx, 0.0),
        *(0.0, lens.fy, lens.cy, 0.0),
        *(0.0, 0.0, 1.0, 0.0),
    ]
    return message
