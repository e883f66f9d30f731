"""Between the tool tip, which the policy speaks of, and the IK tip, which Servo moves.

The IK tip is ``panda_link8`` (``fr3_link8``). The tool tip is fixed to it at the contract's
``tool_offset``, given in the IK tip's frame: ``p_tool = p_ik + R(q_ik) @ tool_offset``.
Quaternions are (w, x, y, z).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twist_policy.contract import PolicyContract

FloatArray = NDArray[np.float64]


def unit_quaternion(value: ArrayLike) -> FloatArray:
    """Normalises (w, x, y, z).

    Raises:
        ValueError: not four finite numbers, or of a length far from 1 (an unset orientation is
            all zeros).
    """
    quaternion = np.asarray(value, dtype=np.float64)
    if quaternion.shape != (4,) or not bool(np.isfinite(quaternion).all()):
        raise ValueError(
            f"an orientation must be four finite numbers (w, x, y, z), found {quaternion.tolist()}"
        )
    norm = float(np.linalg.norm(quaternion))
    if abs(norm - 1.0) > 0.01:
        raise ValueError(
            f"an orientation must be a unit quaternion, found {quaternion.tolist()} of length "
            f"{norm:.4f}"
        )
    return quaternion / norm


def rotate(quaternion: FloatArray, vector: ArrayLike) -> FloatArray:
    """Rotates a vector (3,) by a unit quaternion."""
    w, *axis = quaternion.tolist()
    v = np.asarray(vector, dtype=np.float64).tolist()
    t = [2.0 * part for part in _cross(axis, v)]
    u = _cross(axis, t)
    return np.array([v[i] + w * t[i] + u[i] for i in range(3)])


def rotation_vector(target: FloatArray, current: FloatArray) -> FloatArray:
    """Rotation that turns `current` into `target`, axis times angle, radians, base frame, (3,)."""
    w1, *v1 = target.tolist()
    w2, *v2 = current.tolist()
    u = _cross(v2, v1)
    w = w1 * w2 + sum(a * b for a, b in zip(v1, v2, strict=True))
    v = [w2 * v1[i] - w1 * v2[i] + u[i] for i in range(3)]
    if w < 0:  # q and -q are the same rotation: take the shorter way round
        w, v = -w, [-part for part in v]
    sine = math.hypot(*v)
    if sine < 1e-12:
        return np.zeros(3)
    scale = 2.0 * math.atan2(sine, w) / sine
    return np.array([scale * part for part in v])


def turned(orientation: FloatArray, rotation: FloatArray) -> FloatArray:
    """`orientation` after a rotation, axis times angle, radians, base frame, (3,)."""
    angle = math.hypot(*rotation.tolist())
    if angle < 1e-12:
        return orientation
    scale = math.sin(0.5 * angle) / angle
    w1, v1 = math.cos(0.5 * angle), [scale * part for part in rotation.tolist()]
    w2, *v2 = orientation.tolist()
    u = _cross(v1, v2)
    w = w1 * w2 - sum(a * b for a, b in zip(v1, v2, strict=True))
    return unit_quaternion([w, *(w1 * v2[i] + w2 * v1[i] + u[i] for i in range(3))])


def _cross(a: list[float], b: list[float]) -> list[float]:
    # Once or more per measured pose, which may come a thousand times a second: numpy's cross takes
    # ten times as long for three numbers.
    return [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]


class ToolFrame:
    """Converts positions for one contract.

    Args:
        contract: gives the tool's offset and the orientation that is held.
    """

    def __init__(self, contract: PolicyContract) -> None:
        self.orientation = unit_quaternion(contract.tool_orientation)
        """Orientation of the IK tip in the base frame that is held, (w, x, y, z)."""
        self._offset = np.asarray(contract.tool_offset, dtype=np.float64)
        self._held_offset = rotate(self.orientation, self._offset)

    def tool_tip(self, ik_position: ArrayLike, ik_orientation: FloatArray) -> FloatArray:
        """Measured tool tip (3,) in metres, from a measured IK tip pose, base frame."""
        return np.asarray(ik_position, dtype=np.float64) + rotate(ik_orientation, self._offset)

    def ik_target(self, tool_target: ArrayLike) -> FloatArray:
        """IK tip position (3,) that puts the tool tip there in the held orientation."""
        target: FloatArray = np.asarray(tool_target, dtype=np.float64) - self._held_offset
        return target

    def tilt(self, ik_orientation: FloatArray) -> float:
        """Angle between a measured and the held orientation, radians."""
        return float(np.linalg.norm(rotation_vector(self.orientation, ik_orientation)))

    def offset_in_base(self, ik_orientation: FloatArray) -> FloatArray:
        """Vector (3,) from the IK tip to the tool tip, metres, base frame."""
        return rotate(ik_orientation, self._offset)
