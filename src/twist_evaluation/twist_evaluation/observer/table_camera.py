"""The calibrated camera above the table: pixels to points on a plane, and back."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twist_policy.contract import CameraModel, ContractError
from twist_sim.camera_geometry import matrix_from_quaternion, project

Array = NDArray[np.float64]


class CameraFileError(RuntimeError):
    """A camera cannot be read from a file; the message names cause and cure."""


@dataclass(frozen=True)
class TableCamera:
    """A pinhole camera whose pose in the base frame is known.

    Attributes:
        model: intrinsics (pixels) and pose.
    """

    model: CameraModel

    def project(self, points: ArrayLike) -> Array:
        """Pixels (column, row), shape (..., 2), of points in metres, shape (..., 3)."""
        return project(self.model, points)

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
        local = np.stack(
            [
                (pixels[..., 0] - camera.cx) / camera.fx,
                (pixels[..., 1] - camera.cy) / camera.fy,
                np.ones(pixels.shape[:-1]),
            ],
            axis=-1,
        )
        rays = local @ matrix_from_quaternion(camera.orientation).T
        down = np.where(rays[..., 2] < -1e-9, rays[..., 2], np.nan)
        reach = (height - camera.position[2]) / down
        return np.asarray(camera.position[:2]) + reach[..., None] * rays[..., :2]

    def pixels_per_metre(self, place: ArrayLike) -> float:
        """Scale of the picture around a place on the table, geometric mean of both directions."""
        x, y = np.asarray(place, dtype=np.float64)[:2]
        points = self.project([(x, y, 0.0), (x + 0.001, y, 0.0), (x, y + 0.001, 0.0)])
        area = abs(np.linalg.det(np.stack([points[1] - points[0], points[2] - points[0]])))
        return math.sqrt(float(area)) * 1000.0


def read_camera(path: Path) -> CameraModel:
    """Reads a camera from a calibration file.

    Takes JSON or YAML with the fields of `CameraModel`, alone or under the key ``camera``.

    Raises:
        CameraFileError: the file is missing, malformed or incomplete.
    """
    import yaml

    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        data = data.get("camera", data)
        numbers = {name: float(data[name]) for name in ("fx", "fy", "cx", "cy")}
        return CameraModel(
            width=int(data["width"]),
            height=int(data["height"]),
            **numbers,
            position=_numbers(data["position"], 3),
            orientation=_numbers(data["orientation"], 4),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        fields = json.dumps(["width", "height", "fx", "fy", "cx", "cy", "position", "orientation"])
        kind = "ContractError" if isinstance(error, ContractError) else type(error).__name__
        raise CameraFileError(
            f"no camera can be read from {path} ({kind}: {error}). Give a calibration file with "
            f"{fields}; position in metres and orientation (w, x, y, z) in the base frame."
        ) from None


def _numbers(values: Any, count: int) -> Any:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != count:
        raise ValueError(f"expected {count} numbers, found {list(numbers)}")
    return numbers
