"""Pinhole geometry of the workspace camera: where points of the base frame fall in the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twist_policy.contract import CameraModel, Quaternion, Vector3


def look_at_orientation(position: Vector3, target: Vector3) -> Quaternion:
    """Orientation of an optical frame at `position` whose axis passes through `target`.

    The image's up direction is the projection of +z of the base frame.

    Args:
        position: optical centre, metres, base frame.
        target: point on the optical axis, metres, base frame.

    Returns:
        Rotation from the optical frame (x right, y down, z forward) to the base frame,
        (w, x, y, z).

    Raises:
        ValueError: the points coincide or the axis is vertical.
    """
    forward = np.asarray(target, dtype=np.float64) - np.asarray(position, dtype=np.float64)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    if np.linalg.norm(right) < 1e-9:
        raise ValueError(
            f"the camera at {position} must look at a point that is neither itself nor straight "
            f"above or below it, found {target}"
        )
    forward /= np.linalg.norm(forward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward], axis=1)
    return quaternion_from_matrix(rotation)


def quaternion_from_matrix(rotation: NDArray[np.float64]) -> Quaternion:
    """Unit quaternion (w, x, y, z), w >= 0, of a rotation matrix, shape (3, 3)."""
    m = rotation
    # The largest of the four squared components is divided by, so nothing is ill-conditioned.
    squares = np.array(
        [
            1 + m[0, 0] + m[1, 1] + m[2, 2],
            1 + m[0, 0] - m[1, 1] - m[2, 2],
            1 - m[0, 0] + m[1, 1] - m[2, 2],
            1 - m[0, 0] - m[1, 1] + m[2, 2],
        ]
    )
    products = np.array(
        [
            [squares[0], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], squares[1], m[1, 0] + m[0, 1], m[0, 2] + m[2, 0]],
            [m[0, 2] - m[2, 0], m[1, 0] + m[0, 1], squares[2], m[2, 1] + m[1, 2]],
            [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[2, 1] + m[1, 2], squares[3]],
        ]
    )
    row = products[int(np.argmax(squares))]
    row = row / np.linalg.norm(row)
    row = -row if row[0] < 0 else row
    return (float(row[0]), float(row[1]), float(row[2]), float(row[3]))


def matrix_from_quaternion(quaternion: Quaternion) -> NDArray[np.float64]:
    """Rotation matrix, shape (3, 3), of a unit quaternion (w, x, y, z)."""
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def project(camera: CameraModel, points: ArrayLike) -> NDArray[np.float64]:
    """Pixel positions of points of the base frame.

    Args:
        camera: the camera's pose and intrinsics.
        points: metres, base frame, shape (..., 3).

    Returns:
        (column, row) from the top-left corner of the full frame, pixels, shape (..., 2); NaN for
        points behind the camera.
    """
    rotation = matrix_from_quaternion(camera.orientation)
    local = (np.asarray(points, dtype=np.float64) - np.asarray(camera.position)) @ rotation
    depth = np.where(local[..., 2] > 1e-9, local[..., 2], np.nan)
    column = camera.cx + camera.fx * local[..., 0] / depth
    row = camera.cy + camera.fy * local[..., 1] / depth
    return np.stack([column, row], axis=-1)
