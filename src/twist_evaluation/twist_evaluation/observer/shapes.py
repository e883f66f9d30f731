"""The cube and the goal disc as the camera sees them: outlines for given places on the table."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from twist_evaluation.observer.table_camera import TableCamera

Array = NDArray[np.float64]

_CUBE_SAMPLES = 96
_DISC_SAMPLES = 96


def cube_corners(place: ArrayLike, yaw: float, size: float, height: float | None = None) -> Array:
    """Corners of an upright cube.

    Args:
        place: x, y of its centre, metres.
        yaw: about +z, radians.
        size: edge, metres.
        height: of the centre above the table, metres; None: it lies on the table.

    Returns:
        (8, 3): four at the bottom, then the four above them.
    """
    half = size / 2
    x, y = np.asarray(place, dtype=np.float64)[:2]
    cosine, sine = math.cos(yaw), math.sin(yaw)
    square = half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=np.float64)
    turned = square @ np.array([[cosine, sine], [-sine, cosine]]) + (x, y)
    middle = half if height is None else height
    return np.vstack(
        [np.column_stack([turned, np.full(4, middle + side)]) for side in (-half, half)]
    )


def disc_points(place: ArrayLike, radius: float, count: int = _DISC_SAMPLES) -> Array:
    """(count, 3) points on the edge of a disc on the table, metres."""
    angles = np.linspace(0.0, 2 * math.pi, count, endpoint=False)
    x, y = np.asarray(place, dtype=np.float64)[:2]
    return np.column_stack(
        [x + radius * np.cos(angles), y + radius * np.sin(angles), np.zeros(count)]
    )


def silhouette(camera: TableCamera, corners: Array) -> Array:
    """Convex outline of projected corners, pixels, shape (K, 2)."""
    pixels = camera.project(corners).astype(np.float32)
    return cv2.convexHull(pixels).reshape(-1, 2).astype(np.float64)


@dataclass(frozen=True)
class CubeOutline:
    """Points on the cube's silhouette for parameters (x, y, yaw) or (x, y, yaw, height).

    The points are kept at the same places of the same edges while the parameters change a little,
    so that their derivatives are those of the outline.
    """

    camera: TableCamera
    size: float
    hull: tuple[int, ...]
    """Which corners make the silhouette, in order."""

    @classmethod
    def around(cls, camera: TableCamera, size: float, parameters: Array) -> CubeOutline:
        """The outline of a cube near `parameters`."""
        corners = cube_corners(parameters[:2], parameters[2], size, *parameters[3:])
        pixels = camera.project(corners).astype(np.float32)
        hull = cv2.convexHull(pixels, returnPoints=False).reshape(-1)
        return cls(camera, size, tuple(int(index) for index in hull))

    def points(self, parameters: Array) -> Array:
        """Outline points, pixels, shape (N, 2)."""
        hull, following = self._edges(parameters)
        # Not at the corners themselves: the picture rounds them.
        shares = np.linspace(0.12, 0.88, self._per_edge)[None, :, None]
        return (hull[:, None] * (1 - shares) + following[:, None] * shares).reshape(-1, 2)

    def normals(self, parameters: Array) -> Array:
        """Outward unit normals at `points`, shape (N, 2)."""
        hull, following = self._edges(parameters)
        along = following - hull
        normals = _outward(np.stack([along[:, 1], -along[:, 0]], axis=1), (hull + following) / 2)
        return np.repeat(normals, self._per_edge, axis=0)

    @property
    def _per_edge(self) -> int:
        return max(4, _CUBE_SAMPLES // len(self.hull))

    def _edges(self, parameters: Array) -> tuple[Array, Array]:
        corners = cube_corners(parameters[:2], parameters[2], self.size, *parameters[3:])
        hull = self.camera.project(corners)[list(self.hull)]
        return hull, np.roll(hull, -1, axis=0)


@dataclass(frozen=True)
class DiscOutline:
    """Points on the goal disc's edge for parameters (x, y)."""

    camera: TableCamera
    radius: float

    def points(self, parameters: Array) -> Array:
        """Outline points, pixels, shape (N, 2)."""
        return self.camera.project(disc_points(parameters, self.radius))

    def normals(self, parameters: Array) -> Array:
        """Outward unit normals at `points`, shape (N, 2)."""
        points = self.points(parameters)
        along = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
        return _outward(np.stack([along[:, 1], -along[:, 0]], axis=1), points)


def _outward(normals: Array, points: Array) -> Array:
    """Unit normals, all turned away from the middle of a convex outline."""
    unit = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    away = ((points - points.mean(axis=0)) * unit).sum(axis=1, keepdims=True)
    return np.where(away < 0, -unit, unit)


def inside_polygon(polygon: Array, points: Array, margin: float) -> NDArray[np.bool_]:
    """Which of (N, 2) points are inside a convex polygon grown by `margin` pixels."""
    contour = polygon.astype(np.float32).reshape(-1, 1, 2)
    return np.array(
        [cv2.pointPolygonTest(contour, (float(x), float(y)), True) > -margin for x, y in points],
        dtype=bool,
    )


def filled(polygon: Array, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) pixels whose centres are inside a convex polygon, sub-pixel corners honoured."""
    canvas = np.zeros(shape, np.uint8)
    fixed = np.round(polygon * 16).astype(np.int32)
    cv2.fillConvexPoly(canvas, fixed, 1, cv2.LINE_8, 4)
    return canvas.astype(bool)
