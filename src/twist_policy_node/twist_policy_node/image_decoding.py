"""sensor_msgs/Image to RGB arrays, without cv_bridge."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4}
SUPPORTED_ENCODINGS = tuple(_CHANNELS)
"""Encodings that `decode_image` takes. 8 bits per channel, so byte order does not matter."""


class ImageError(ValueError):
    """A camera frame cannot be used; the message names what to set on the camera."""


class ImageMessage(Protocol):
    """The fields of sensor_msgs/Image that are read."""

    height: int
    width: int
    encoding: str
    step: int
    data: bytes


def decode_image(message: ImageMessage, *, width: int, height: int) -> NDArray[np.uint8]:
    """Decodes one camera frame.

    Args:
        message: a sensor_msgs/Image. Row padding (``step`` larger than a row) is honoured.
        width: expected width, pixels.
        height: expected height, pixels.

    Returns:
        RGB, uint8, C-contiguous, (height, width, 3). It shares the message's memory, read-only,
        where the message is unpadded rgb8; it is a copy otherwise.

    Raises:
        ImageError: an unsupported encoding, another size, an impossible ``step``, or missing
            bytes.
    """
    channels = _CHANNELS.get(message.encoding)
    if channels is None:
        raise ImageError(
            f"the camera sends encoding {message.encoding!r}, expected one of "
            f"{', '.join(SUPPORTED_ENCODINGS)}; set the camera's colour format to rgb8 "
            "(realsense2_camera: rgb_camera.color_format RGB8)"
        )
    if (message.width, message.height) != (width, height):
        raise ImageError(
            f"the camera sends {message.width}x{message.height} frames, the checkpoint was "
            f"trained with {width}x{height}; set the camera's colour profile to that size "
            f"(realsense2_camera: rgb_camera.color_profile {width}x{height}x30)"
        )
    row = width * channels
    if message.step < row:
        raise ImageError(
            f"the camera says a row has {message.step} bytes, but {width} pixels of "
            f"{message.encoding} take {row}; the camera driver fills in 'step' wrongly: update it"
        )
    data = np.frombuffer(message.data, dtype=np.uint8)
    # The last row may come without its padding.
    needed = message.step * (height - 1) + row
    if data.size < needed:
        raise ImageError(
            f"a frame holds {data.size} bytes, {needed} expected for {width}x{height} "
            f"{message.encoding} with {message.step} bytes a row: it is truncated; check the "
            "camera driver and the network between camera and this machine"
        )
    rows = np.lib.stride_tricks.as_strided(
        data, (height, width, channels), (message.step, channels, 1), writeable=False
    )
    if message.encoding in ("bgr8", "bgra8"):
        rgb = rows[:, :, 2::-1]
    else:
        rgb = rows[:, :, :3]
    return np.ascontiguousarray(rgb)
