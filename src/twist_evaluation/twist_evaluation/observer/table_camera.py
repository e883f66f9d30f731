"""The calibrated camera above the table: pixels to points on a plane, and back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import ArrayLike, NDArray

from twist_policy.contract import CameraModel, ContractError
from twist_sim.camera_geometry import matrix_from_quaternion, project

Array = NDArray[np.float64]


_HALF = 0.5


class CameraFileError(RuntimeError):
    """A camera cannot be read from a file; the message names cause and cure."""


@dataclass(frozen=True)
class TableCamera:
    """A camera whose pose in the base frame is known.

    Pixel centres are at whole numbers here, as OpenCV has it; the contract counts from the edge of
    the first pixel, half a pixel more.

    Attributes:
        model: intrinsics (pixels) and pose.
        distortion: of the lens, OpenCV's coefficients (k1, k2, p1, p2, k3, ...); empty for none.
    """

    model: CameraModel
    distortion: tuple[float, ...] = ()

    def project(self, points: ArrayLike) -> Array:
        """Pixels (column, row), shape (..., 2), of points in metres, shape (..., 3)."""
        if not any(self.distortion):
            return project(self.model, points) - _HALF
        local = np.asarray(points, dtype=np.float64) - np.asarray(self.model.position)
        local = local @ matrix_from_quaternion(self.model.orientation)
        zero = np.zeros(3)
        pixels, _ = cv2.projectPoints(
            local.reshape(-1, 1, 3), zero, zero, self._matrix, np.asarray(self.distortion)
        )
        return np.asarray(pixels, dtype=np.float64).reshape(*local.shape[:-1], 2)

    def on_plane(self, pixels: ArrayLike, height: float) -> Array:
        """Where the rays of pixels meet the horizontal plane at `height`.

        Args:
            pixels: (column, row), shape (..., 2).
            height: of the plane above the table, metres.

        Returns:
            x, y in the base frame, metres, shape (..., 2); NaN where a ray does not go down.
        """
        camera = self.model
        pixels = np.asarray(pixels, dtype=np.float64)
        flat = cv2.undistortPoints(
            pixels.reshape(-1, 1, 2), self._matrix, np.asarray(self.distortion or (0.0,) * 4)
        ).reshape(*pixels.shape[:-1], 2)
        local = np.concatenate([flat, np.ones((*pixels.shape[:-1], 1))], axis=-1)
        rays = local @ matrix_from_quaternion(camera.orientation).T
        down = np.where(rays[..., 2] < -1e-9, rays[..., 2], np.nan)
        reach = (height - camera.position[2]) / down
        return np.asarray(camera.position[:2]) + reach[..., None] * rays[..., :2]

    @property
    def _matrix(self) -> Array:
        camera = self.model
        return np.array(
            [
                [camera.fx, 0.0, camera.cx - _HALF],
                [0.0, camera.fy, camera.cy - _HALF],
                [0.0, 0.0, 1.0],
            ]
        )


def read_camera(path: Path) -> TableCamera:
    """Reads a camera file as the calibration writes it: pixel centres at whole numbers.

    Raises:
        CameraFileError: the file is missing, malformed or incomplete.
    """
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        data = data["camera"]
        return TableCamera(
            CameraModel(
                width=int(data["width"]),
                height=int(data["height"]),
                fx=float(data["fx"]),
                fy=float(data["fy"]),
                cx=float(data["cx"]) + _HALF,
                cy=float(data["cy"]) + _HALF,
                position=_numbers(data["position"], 3),
                orientation=_numbers(data["orientation"], 4),
            ),
            tuple(float(value) for value in data.get("distortion", ())),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        fields = json.dumps(["width", "height", "fx", "fy", "cx", "cy", "position", "orientation"])
        kind = "ContractError" if isinstance(error, ContractError) else type(error).__name__
        raise CameraFileError(
            f"no camera can be read from {path} ({kind}: {error}). Make one with "
            f"`twist-calibrate`; under `camera` it has {fields}."
        ) from None


def _numbers(values: Any, count: int) -> Any:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != count:
        raise ValueError(f"expected {count} numbers, found {list(numbers)}")
    return numbers
