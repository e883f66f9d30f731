"""Small geometry of Cartesian motion: rotations, bounded vectors, approach speeds."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def clamp_norm(vector: FloatArray, limit: float) -> FloatArray:
    """`vector` with its Euclidean norm reduced to `limit` where it is above."""
    norm = math.sqrt(float(vector @ vector))
    return vector if norm <= limit else vector * (limit / norm)


def approach_speed(distance: float, acceleration: float, limit: float, period: float) -> float:
    """Speed from which a point `distance` ahead is reached by braking with `acceleration`.

    In discrete time: after a period at this speed, the rest of the way still suffices to brake,
    and the last step lands on the point instead of jumping over it.

    Args:
        distance: metres (or radians), not negative.
        acceleration: braking, per second squared.
        limit: largest speed, per second.
        period: control period, seconds.
    """
    step = acceleration * period
    braking = math.sqrt(2 * acceleration * distance + step * step / 4) - step / 2
    return min(limit, braking, distance / period)


def rotation_from_quaternion(x: float, y: float, z: float, w: float) -> FloatArray:
    """Rotation matrix (3, 3) of a quaternion, which is normalised first.

    Raises:
        ValueError: the norm is not within 1 percent of one, or not finite.
    """
    norm = math.sqrt(x * x + y * y + z * z + w * w)
    if not abs(norm - 1.0) < 0.01:
        raise ValueError(f"an orientation must be a unit quaternion, found norm {norm:.4g}")
    x, y, z, w = x / norm, y / norm, z / norm, w / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_from_rotation(rotation: FloatArray) -> tuple[float, float, float, float]:
    """Unit quaternion (x, y, z, w) of a rotation matrix (3, 3)."""
    (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = rotation.tolist()
    # Shepperd's method: divide by the largest component.
    trace = m00 + m11 + m22
    if trace >= max(m00, m11, m22):
        q = (m21 - m12, m02 - m20, m10 - m01, 1 + trace)
    elif m00 >= m11 and m00 >= m22:
        q = (1 + m00 - m11 - m22, m01 + m10, m02 + m20, m21 - m12)
    elif m11 >= m22:
        q = (m01 + m10, 1 - m00 + m11 - m22, m12 + m21, m02 - m20)
    else:
        q = (m02 + m20, m12 + m21, 1 - m00 - m11 + m22, m10 - m01)
    norm = math.sqrt(sum(v * v for v in q))
    return (q[0] / norm, q[1] / norm, q[2] / norm, q[3] / norm)


def rotation_error(target: FloatArray, current: FloatArray) -> FloatArray:
    """Rotation vector (3,), base frame, radians, that turns `current` into `target` (3, 3)."""
    x, y, z, w = quaternion_from_rotation(target @ current.T)
    if w < 0:
        x, y, z, w = -x, -y, -z, -w
    sine = math.sqrt(x * x + y * y + z * z)
    factor = 2.0 if sine < 1e-9 else 2.0 * math.atan2(sine, w) / sine
    return np.array([x, y, z]) * factor
