"""Orientations as task rules use them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def yaw_of(quaternion: NDArray[np.float64]) -> float:
    """Turn about +z of a quaternion (w, x, y, z), radians, in (-pi, pi]."""
    w, x, y, z = quaternion.tolist()
    return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
