"""The camera file: where the camera stands and what its lens does, as measured in the lab.

Written by ``twist-calibrate solve``, read by the launch, which compares it with the contract of the
checkpoint, and by whoever has to know where things of the table are in the picture. Pixel centres
are at whole numbers, as in ROS and OpenCV; the contract counts from the edge of the first pixel,
half a pixel more.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from twist_camera.calibration_checks import Calibration
from twist_camera.calibration_fit import Factor
from twist_camera.limits import CameraLimits
from twist_camera.rigid_transform import Array, RigidTransform
from twist_policy.camera_match import CameraIntrinsics, CameraMatchError, crop_points
from twist_policy.contract import CameraModel, ContractError, ImageSpec, PolicyContract

FORMAT = 1
_HEAD = """\
# Where the camera stands and what its lens does; written by twist-calibrate. Metres; pixels with
# centres at whole numbers; orientation (w, x, y, z) of the optical frame (x right, y down,
# z forward) in the base frame.
"""


class CameraFileError(ValueError):
    """A camera file, or a checkpoint's contract, cannot be read; the message names it."""


@dataclass(frozen=True, eq=False)
class CameraFile:
    """One camera.

    Attributes:
        base_frame: frame that the pose is given in.
        intrinsics: the lens.
        base_to_camera: pose of the optical frame.
        quality: what the calibration says of itself, plain data.
    """

    base_frame: str
    intrinsics: CameraIntrinsics
    base_to_camera: RigidTransform
    quality: dict[str, Any]

    def project(self, points: Array) -> Array:
        """Pixels, (N, 2), of points in the base frame, (N, 3); NaN for points behind the camera."""
        local = self.base_to_camera.inverse().apply(points)
        depth = np.where(local[:, 2:] > 1e-6, local[:, 2:], np.nan)
        return self.intrinsics.project(local[:, :2] / depth)

    def save(self, path: Path) -> None:
        """Writes the file; its folder is made."""
        camera = dataclasses.asdict(self.intrinsics)
        camera["distortion"] = [float(value) for value in self.intrinsics.distortion]
        data = {
            "format": FORMAT,
            "base_frame": self.base_frame,
            "camera": camera
            | {
                "position": [float(v) for v in self.base_to_camera.position],
                "orientation": [float(v) for v in self.base_to_camera.quaternion],
            },
            "quality": self.quality,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        text = _HEAD + yaml.safe_dump(data, sort_keys=False, default_flow_style=None)
        path.write_text(text, encoding="utf-8")


def load_camera_file(path: Path) -> CameraFile:
    """Reads a camera file.

    Raises:
        CameraFileError: missing, of another format, or malformed.
    """
    cure = "make one with `twist-calibrate`"
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CameraFileError(f"cannot read the camera file {path}: {error}; {cure}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise CameraFileError(
            f"{path} is no camera file of format {FORMAT} (found {found!r}); {cure}"
        )
    try:
        camera = dict(data["camera"])
        pose = RigidTransform.from_quaternion(camera.pop("position"), camera.pop("orientation"))
        camera["distortion"] = tuple(float(value) for value in camera["distortion"])
        for key in ("fx", "fy", "cx", "cy"):
            camera[key] = float(camera[key])
        return CameraFile(
            str(data["base_frame"]), CameraIntrinsics(**camera), pose, dict(data["quality"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CameraFileError(f"{path} is damaged ({error!r}); {cure}") from error


def quality_of(found: Calibration, method: str, date: str) -> dict[str, Any]:
    """What a camera file says about its calibration."""
    return {
        "method": method,
        "date": date,
        "views": len(found.view_rms),
        "corners": found.corners,
        "reprojection_rms_pixels": round(found.rms, 3),
        "position_sigma_metres": round(found.position_sigma, 5),
        "angle_sigma_degrees": round(found.angle_sigma, 4),
        "picture_covered": round(found.coverage, 2),
        "board_scale": _factor(found.board_scale),
        "lens_scale": _factor(found.lens_scale) if found.lens_scale else None,
    }


def _factor(factor: Factor) -> dict[str, float]:
    return {"value": round(factor.value, 5), "sigma": round(factor.sigma, 5)}


def contract_of(checkpoint: Path) -> PolicyContract:
    """The contract in a checkpoint's manifest; the checkpoint itself is not verified.

    Raises:
        CameraFileError: no readable manifest.
    """
    path = checkpoint / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        return PolicyContract.from_dict(manifest["contract"])
    except (OSError, ValueError, KeyError, TypeError, ContractError) as error:
        raise CameraFileError(
            f"{path} cannot be read ({type(error).__name__}: {error}); give the folder of an "
            "exported checkpoint, e.g. models/block_push"
        ) from error


@dataclass(frozen=True)
class CameraDifference:
    """A calibrated camera against the one trained with.

    Attributes:
        position: distance of the optical centres, metres.
        angle: between the orientations, degrees.
        picture: largest shift of the table's points that the contract's camera sees at the crop's
            centre and corners, pixels; pose and lens together.
    """

    position: float
    angle: float
    picture: float

    def __str__(self) -> str:
        return (
            f"{self.position * 1000:.1f} mm, {self.angle:.2f} degrees; the picture is shifted by "
            f"up to {self.picture:.1f} pixels"
        )

    def problems(self, limits: CameraLimits) -> list[str]:
        """One line for each limit that is exceeded."""
        cure = "move the camera (`twist-calibrate overlay` shows where to), then calibrate again"
        rows = (
            ("the camera stands {:.0f} mm from where the policy was trained to look from "
             "(limit {:.0f} mm); " + cure, self.position * 1000, limits.position * 1000),
            ("the camera is turned by {:.1f} degrees against the one trained with "
             "(limit {:g}); " + cure, self.angle, limits.angle),
            ("the policy's picture is shifted by up to {:.0f} pixels (limit {:g}); " + cure,
             self.picture, limits.picture),
        )  # fmt: skip
        return [text.format(value, limit) for text, value, limit in rows if not value <= limit]


def table_points(trained: CameraModel, image: ImageSpec) -> Array:
    """Points of the table (z = 0) at the centre and the corners of the crop, base frame, (5, 3).

    Raises:
        CameraMatchError: the contract's camera does not look at the table there.
    """
    pose = RigidTransform.from_quaternion(trained.position, trained.orientation)
    rays = (crop_points(image) - (trained.cx, trained.cy)) / (trained.fx, trained.fy)
    directions = np.concatenate([rays, np.ones((len(rays), 1))], axis=1) @ pose.rotation.T
    if (directions[:, 2] > -1e-6).any():
        raise CameraMatchError("the contract's camera does not see the table in its whole crop")
    return pose.translation - directions * (pose.translation[2] / directions[:, 2:])


def camera_difference(
    camera: CameraFile, trained: CameraModel, image: ImageSpec
) -> CameraDifference:
    """Compares a calibrated camera with the contract's.

    Raises:
        CameraMatchError: the frames have different sizes.
    """
    found = camera.intrinsics
    if (found.width, found.height) != (trained.width, trained.height):
        raise CameraMatchError(
            f"the camera was calibrated at {found.width}x{found.height}, the policy was trained "
            f"with {trained.width}x{trained.height}; calibrate with that colour profile"
        )
    pose = RigidTransform.from_quaternion(trained.position, trained.orientation)
    distance, angle = camera.base_to_camera.distance_to(pose)
    pixels = camera.project(table_points(trained, image)) + 0.5
    shift = np.linalg.norm(pixels - crop_points(image), axis=1)
    largest = float(np.nan_to_num(shift, nan=np.inf).max())
    return CameraDifference(distance, float(np.degrees(angle)), largest)
