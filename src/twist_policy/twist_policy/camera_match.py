"""Whether a camera's intrinsics are those that a policy was trained with.

What counts is not the difference of two focal lengths but where things are in the picture. So both
cameras look along the same rays, those through the corners of the policy's crop, and the distance
between their two pixels is what a limit is set on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twist_policy.contract import CameraModel, ImageSpec

_COEFFICIENTS = {"plumb_bob": (0, 4, 5), "rational_polynomial": (0, 8), "equidistant": (4,)}
"""ROS's distortion models to how many coefficients they come with."""


class CameraMatchError(ValueError):
    """A camera's calibration cannot be read, or differs too much; the message says what to do."""


@dataclass(frozen=True)
class CameraIntrinsics:
    """What sensor_msgs/CameraInfo says about one camera.

    Attributes:
        width: frame width, pixels.
        height: frame height, pixels.
        fx: focal length along x, pixels.
        fy: focal length along y, pixels.
        cx: principal point x, pixels from the middle of the first one, as ROS and OpenCV count.
        cy: principal point y, likewise.
        distortion_model: ``plumb_bob``, ``rational_polynomial``, ``equidistant``; empty for none.
        distortion: the model's coefficients, in the order that ROS and OpenCV use.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: str = "plumb_bob"
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not all(math.isfinite(value) for value in values):
            raise CameraMatchError(f"the camera's calibration holds numbers that are none: {self}")
        if self.width <= 0 or self.height <= 0 or self.fx <= 0 or self.fy <= 0:
            raise CameraMatchError(
                f"the camera is not calibrated: size {self.width}x{self.height}, focal lengths "
                f"{self.fx:g} and {self.fy:g} pixels; make its driver publish a calibration"
            )
        if not self.distortion_model and not self.distortion:
            return
        allowed = _COEFFICIENTS.get(self.distortion_model)
        if allowed is None or len(self.distortion) not in allowed:
            raise CameraMatchError(
                f"distortion model {self.distortion_model!r} with {len(self.distortion)} "
                f"coefficients is unknown; known: {_COEFFICIENTS}"
            )

    @classmethod
    def from_model(cls, camera: CameraModel) -> CameraIntrinsics:
        """The intrinsics of a contract's pinhole camera, which counts from the pixel's edge."""
        cx, cy = camera.cx - 0.5, camera.cy - 0.5
        return cls(camera.width, camera.height, camera.fx, camera.fy, cx, cy)

    def project(self, rays: NDArray[np.float64], *, distorted: bool = True) -> NDArray[np.float64]:
        """Pixels of rays.

        Args:
            rays: (x / z, y / z) in the optical frame, shape (N, 2).
            distorted: whether the lens distorts.

        Returns:
            (column, row), shape (N, 2).
        """
        if distorted and any(self.distortion):
            rays = _distort(rays, self.distortion_model, self.distortion)
        return rays * (self.fx, self.fy) + (self.cx, self.cy)


def _distort(
    rays: NDArray[np.float64], model: str, coefficients: Sequence[float]
) -> NDArray[np.float64]:
    if model == "equidistant":
        radius = np.linalg.norm(rays, axis=1, keepdims=True)
        theta = np.arctan(radius)
        series = sum(k * theta ** (2 * i + 2) for i, k in enumerate(coefficients))
        return rays * np.where(radius > 1e-12, theta * (1 + series) / np.maximum(radius, 1e-12), 1)
    k1, k2, p1, p2, k3, k4, k5, k6 = (*coefficients, 0.0, 0.0, 0.0, 0.0)[:8]
    x, y = rays[:, 0], rays[:, 1]
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        axis=1,
    )


@dataclass(frozen=True)
class IntrinsicShift:
    """How far the picture of one camera lies from that of another one in the same place.

    Attributes:
        total: largest shift at the centre and the corners of the crop, pixels of the full frame.
        distortion: part of it that the lens distortion makes, largest at the same points, pixels.
    """

    total: float
    distortion: float


def crop_points(image: ImageSpec) -> NDArray[np.float64]:
    """Centre and corners of the policy's crop in the full frame, pixels, shape (5, 2)."""
    near_x, near_y, size = image.crop_x, image.crop_y, image.crop_size
    far_x, far_y = near_x + size, near_y + size
    corners = [(near_x, near_y), (far_x, near_y), (far_x, far_y), (near_x, far_y)]
    return np.array([(near_x + size / 2, near_y + size / 2), *corners], dtype=np.float64)


def intrinsic_shift(
    trained: CameraModel, image: ImageSpec, found: CameraIntrinsics
) -> IntrinsicShift:
    """Compares a camera with the one that a policy was trained with.

    Args:
        trained: the contract's camera; its pose is not looked at.
        image: the contract's crop.
        found: the camera that is there.

    Raises:
        CameraMatchError: the frames have different sizes.
    """
    if (found.width, found.height) != (trained.width, trained.height):
        raise CameraMatchError(
            f"the camera's calibration is for {found.width}x{found.height} frames, the policy was "
            f"trained with {trained.width}x{trained.height}; set the camera's colour profile to "
            f"that size (realsense2_camera: rgb_camera.color_profile "
            f"{trained.width}x{trained.height}x30)"
        )
    points = crop_points(image)
    rays = (points - (trained.cx, trained.cy)) / (trained.fx, trained.fy)
    # The points count from the pixel's edge, as images are cut.
    seen, straight = found.project(rays) + 0.5, found.project(rays, distorted=False) + 0.5
    return IntrinsicShift(
        float(np.linalg.norm(seen - points, axis=1).max()),
        float(np.linalg.norm(seen - straight, axis=1).max()),
    )


def check_intrinsics(
    trained: CameraModel, image: ImageSpec, found: CameraIntrinsics, limit: float
) -> IntrinsicShift:
    """Refuses a camera whose picture lies more than `limit` from the one trained with.

    Args:
        trained: the contract's camera.
        image: the contract's crop.
        found: the camera that is there.
        limit: largest shift at the crop's centre and corners, pixels of the full frame.

    Raises:
        CameraMatchError: another frame size, or a larger shift.
    """
    shift = intrinsic_shift(trained, image, found)
    if shift.total > limit:
        raise CameraMatchError(
            f"the camera's intrinsics move the policy's picture by up to {shift.total:.1f} pixels "
            f"(limit {limit:g}; {shift.distortion:.1f} by lens distortion): focal lengths "
            f"{found.fx:.1f}, {found.fy:.1f} and centre {found.cx:.1f}, {found.cy:.1f}, trained "
            f"with {trained.fx:.1f}, {trained.fy:.1f} and {trained.cx:.1f}, {trained.cy:.1f}; use "
            "the camera trained for, or a checkpoint trained with this one's intrinsics"
        )
    return shift
