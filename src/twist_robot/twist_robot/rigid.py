"""Rigid transforms, as the drivers give them and as messages want them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_TOLERANCE = 1e-3
"""How far R R^T may be from the identity; the drivers send doubles, far more exact."""


class TransformError(ValueError):
    """Numbers that are no rigid transform."""


def from_column_major(values: Sequence[float]) -> FloatArray:
    """A 4x4 transform from 16 numbers, column by column, as libfranka orders them.

    Raises:
        TransformError: they are no rigid transform (all zeros before the first measurement).
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != (16,):
        raise TransformError(f"a transform must be 16 numbers, found {numbers.size}")
    return _checked(numbers.reshape(4, 4, order="F"))


def from_quaternion(position: Sequence[float], quaternion: Sequence[float]) -> FloatArray:
    """A 4x4 transform from metres (3,) and (w, x, y, z).

    Raises:
        TransformError: a number is not finite, or the quaternion not of length 1.
    """
    w, x, y, z = quaternion
    transform = np.eye(4)
    transform[:3, 3] = position
    transform[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    if not abs(w * w + x * x + y * y + z * z - 1.0) <= _TOLERANCE:  # catches NaN as well
        raise TransformError(f"an orientation must be a unit quaternion, found {list(quaternion)}")
    return _checked(transform)


def inverse(transform: FloatArray) -> FloatArray:
    """The transform back."""
    back = np.eye(4)
    rotation = transform[:3, :3].T
    back[:3, :3] = rotation
    back[:3, 3] = -rotation @ transform[:3, 3]
    return back


def quaternion_of(transform: FloatArray) -> FloatArray:
    """The rotation as a unit quaternion (w, x, y, z) with w >= 0."""
    r = transform[:3, :3]
    # The largest of the four is found first: dividing by a small one loses digits.
    squares = np.array(
        [
            1 + r[0, 0] + r[1, 1] + r[2, 2],
            1 + r[0, 0] - r[1, 1] - r[2, 2],
            1 - r[0, 0] + r[1, 1] - r[2, 2],
            1 - r[0, 0] - r[1, 1] + r[2, 2],
        ]
    )
    a, b, c = r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]
    d, e, f = r[1, 0] + r[0, 1], r[0, 2] + r[2, 0], r[2, 1] + r[1, 2]
    rows = ([squares[0], a, b, c], [a, squares[1], d, e], [b, d, squares[2], f])
    largest = int(np.argmax(squares))
    row = np.array((*rows, [c, e, f, squares[3]])[largest])
    quaternion: FloatArray = row / np.linalg.norm(row)
    return -quaternion if quaternion[0] < 0 else quaternion


def _checked(transform: FloatArray) -> FloatArray:
    rotation = transform[:3, :3]
    # Written so that NaN fails as well.
    rigid = (
        bool(np.isfinite(transform).all())
        and bool((np.abs(rotation @ rotation.T - np.eye(3)) <= _TOLERANCE).all())
        and float(np.linalg.det(rotation)) > 0
        and bool((np.abs(transform[3] - [0, 0, 0, 1]) <= _TOLERANCE).all())
    )
    if not rigid:
        raise TransformError(f"these numbers are no rigid transform: {transform.tolist()}")
    return transform
