"""Camera images out of bags, as RGB arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

_CHANNELS: dict[str, tuple[int, tuple[int, int, int]]] = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
}


class FrameError(ValueError):
    """An image message cannot be shown; the message names cause and cure."""


def rgb_frame(message: Any) -> np.ndarray:
    """Converts a sensor_msgs/msg/Image.

    Args:
        message: any object with the fields of the message; row padding is honoured.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        FrameError: the encoding is not supported, or the data is too short.
    """
    if message.encoding not in _CHANNELS:
        raise FrameError(
            f"image encoding {message.encoding!r} cannot be shown; known: {', '.join(_CHANNELS)}"
        )
    channels, order = _CHANNELS[message.encoding]
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = np.frombuffer(bytes(message.data), dtype=np.uint8)
    if width <= 0 or height <= 0 or step < width * channels or data.size < height * step:
        raise FrameError(
            f"{width}x{height} {message.encoding} image with rows of {step} bytes holds only "
            f"{data.size} bytes"
        )
    rows = data[: height * step].reshape(height, step)[:, : width * channels]
    return np.ascontiguousarray(rows.reshape(height, width, channels)[:, :, list(order)])
