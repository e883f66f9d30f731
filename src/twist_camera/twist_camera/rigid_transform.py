"""Rigid transforms: poses of frames in other frames, and small changes of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twist_policy.contract import Quaternion, Vector3

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RigidTransform:
    """``a_T_b``: takes points given in frame b to frame a; also the pose of b in a.

    Attributes:
        rotation: (3, 3), columns are b's axes in a.
        translation: b's origin in a, metres, shape (3,).
    """

    rotation: Array
    translation: Array

    @classmethod
    def identity(cls) -> RigidTransform:
        """No motion."""
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def from_quaternion(cls, position: ArrayLike, quaternion: ArrayLike) -> RigidTransform:
        """From a position, metres, and a quaternion (w, x, y, z) of any length but zero.

        Raises:
            ValueError: numbers that are none, or a quaternion of length zero.
        """
        q = np.asarray(quaternion, dtype=np.float64)
        p = np.asarray(position, dtype=np.float64)
        length = np.linalg.norm(q)
        if p.shape != (3,) or q.shape != (4,) or not np.isfinite([*p, *q]).all() or length < 1e-6:
            raise ValueError(
                f"a pose needs three finite coordinates and a quaternion, found {position!r} and "
                f"{quaternion!r}"
            )
        w, x, y, z = q / length
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        return cls(rotation, p)

    @classmethod
    def from_vectors(cls, rotation_vector: ArrayLike, translation: ArrayLike) -> RigidTransform:
        """From a rotation vector, radians, and a translation, metres."""
        return cls(rotation_matrix(rotation_vector), np.asarray(translation, dtype=np.float64))

    @property
    def position(self) -> Vector3:
        """The translation as plain numbers, metres."""
        x, y, z = (float(value) for value in self.translation)
        return (x, y, z)

    @property
    def quaternion(self) -> Quaternion:
        """Unit quaternion (w, x, y, z), w >= 0."""
        vector = rotation_vector(self.rotation)
        angle = float(np.linalg.norm(vector))
        axis = vector / angle if angle > 1e-12 else np.zeros(3)
        x, y, z = (float(value) for value in axis * np.sin(angle / 2))
        return (float(np.cos(angle / 2)), x, y, z)

    def inverse(self) -> RigidTransform:
        """``b_T_a``."""
        return RigidTransform(self.rotation.T, -self.rotation.T @ self.translation)

    def __matmul__(self, other: RigidTransform) -> RigidTransform:
        return RigidTransform(
            self.rotation @ other.rotation, self.rotation @ other.translation + self.translation
        )

    def apply(self, points: ArrayLike) -> Array:
        """Points given in b, shape (..., 3), in frame a."""
        return np.asarray(points, dtype=np.float64) @ self.rotation.T + self.translation

    def moved(self, change: ArrayLike) -> RigidTransform:
        """Turned and shifted a little, seen from frame a.

        Args:
            change: rotation vector about b's origin, radians, then shift, metres; shape (6,).
        """
        change = np.asarray(change, dtype=np.float64)
        return RigidTransform(
            rotation_matrix(change[:3]) @ self.rotation, self.translation + change[3:]
        )

    def distance_to(self, other: RigidTransform) -> tuple[float, float]:
        """Distance of the origins, metres, and angle between the orientations, radians."""
        angle = np.linalg.norm(rotation_vector(self.rotation.T @ other.rotation))
        return float(np.linalg.norm(self.translation - other.translation)), float(angle)


def rotation_matrix(vector: ArrayLike) -> Array:
    """Rotation matrix of a rotation vector, radians (Rodrigues' formula)."""
    vector = np.asarray(vector, dtype=np.float64)
    angle = float(np.linalg.norm(vector))
    x, y, z = vector
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    if angle < 1e-8:
        return np.eye(3) + cross
    first, second = np.sin(angle) / angle, (1 - np.cos(angle)) / angle**2
    return np.eye(3) + first * cross + second * cross @ cross


def rotation_vector(rotation: Array) -> Array:
    """Rotation vector, radians, of a rotation matrix; its length is at most pi."""
    skew = np.array(
        [
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    )
    sine, cosine = np.linalg.norm(skew) / 2, (np.trace(rotation) - 1) / 2
    angle = float(np.arctan2(sine, cosine))
    if sine > 1e-6:
        return skew / (2 * sine) * angle
    if cosine > 0:
        return skew / 2
    # Half a turn: the axis is the eigenvector of eigenvalue 1, up to its sign.
    values, vectors = np.linalg.eigh((rotation + rotation.T) / 2)
    return vectors[:, int(np.argmax(values))] * angle


def nearest_rotation(matrix: Array) -> Array:
    """The rotation matrix nearest to a (3, 3) matrix, by its singular values."""
    u, _, vt = np.linalg.svd(matrix)
    return u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt


def fit_rigid(source: Array, target: Array) -> RigidTransform:
    """The transform that takes `source` nearest to `target` (Kabsch), both (N, 3), N >= 3.

    Raises:
        ValueError: fewer than three points, or all on one line.
    """
    if len(source) < 3:
        raise ValueError(f"three points are needed to fit a pose, found {len(source)}")
    centre_source, centre_target = source.mean(axis=0), target.mean(axis=0)
    a, b = source - centre_source, target - centre_target
    if np.linalg.svd(a, compute_uv=False)[1] < 1e-3 * np.linalg.norm(a):
        raise ValueError("the points lie on one line; take three that form a triangle")
    rotation = nearest_rotation(b.T @ a)
    return RigidTransform(rotation, centre_target - rotation @ centre_source)
