"""Pictures of a board to poses of the board and to the lens that took them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from twist_camera.charuco_board import Array, BoardSpec, Detection
from twist_camera.rigid_transform import RigidTransform
from twist_policy.camera_match import CameraIntrinsics


class LensError(ValueError):
    """Corners that give no pose of the board, or no lens."""


def camera_matrix(camera: CameraIntrinsics) -> Array:
    """(3, 3), pixels."""
    return np.array(
        [[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]], dtype=np.float64
    )


def distortion_vector(camera: CameraIntrinsics) -> Array:
    """As OpenCV takes it.

    Raises:
        ValueError: a fisheye lens, which is not supported here.
    """
    if camera.distortion_model == "equidistant":
        raise ValueError(
            "the camera says that it has a fisheye lens (equidistant); use its colour stream, "
            "whose distortion model is plumb_bob"
        )
    return np.array(camera.distortion or (0.0,) * 5, dtype=np.float64)


def board_pose(spec: BoardSpec, detection: Detection, camera: CameraIntrinsics) -> RigidTransform:
    """Pose of the board in the optical frame; of the two mirrored ones, that which fits better.

    Raises:
        LensError: the corners give no pose.
    """
    lacking = spec.too_little(detection.numbers)
    if lacking:
        raise LensError(lacking)
    points = spec.corners[detection.numbers]
    matrix, distortion = camera_matrix(camera), distortion_vector(camera)
    pixels = detection.pixels.reshape(-1, 1, 2)
    best: tuple[float, RigidTransform] | None = None
    try:
        _, rotations, translations, _ = cv2.solvePnPGeneric(
            points, pixels, matrix, distortion, flags=cv2.SOLVEPNP_IPPE
        )
        for rotation, translation in zip(rotations, translations, strict=True):
            rotation, translation = cv2.solvePnPRefineLM(
                points, pixels, matrix, distortion, rotation, translation
            )
            pose = RigidTransform.from_vectors(rotation.reshape(3), translation.reshape(3))
            local = pose.apply(points)
            error = camera.project(local[:, :2] / local[:, 2:]) - detection.pixels
            size = float((error**2).mean())
            if np.isfinite(size) and (best is None or size < best[0]):
                best = (size, pose)
    except cv2.error as error:
        raise LensError(f"no pose of the board fits its corners ({error})") from error
    if best is None:
        raise LensError("no pose of the board fits its corners")
    return best[1]


def estimate_lens(
    spec: BoardSpec, detections: Sequence[Detection], size: CameraIntrinsics
) -> CameraIntrinsics:
    """Focal lengths, principal point and distortion (k1, k2, p1, p2) from the views alone.

    Raises:
        LensError: the views give no lens.
    """
    objects = [spec.corners[d.numbers].astype(np.float32).reshape(-1, 1, 3) for d in detections]
    pixels = [d.pixels.astype(np.float32).reshape(-1, 1, 2) for d in detections]
    guess = np.array(
        [[size.width, 0, size.width / 2], [0, size.width, size.height / 2], [0, 0, 1]], float
    )
    try:
        _, matrix, distortion, _, _ = cv2.calibrateCamera(
            objects,
            pixels,
            (size.width, size.height),
            guess,
            np.zeros(5),
            flags=cv2.CALIB_FIX_K3 | cv2.CALIB_USE_INTRINSIC_GUESS,
        )
    except cv2.error as error:
        raise LensError(f"no lens fits the views ({error})") from error
    if not (np.isfinite(matrix).all() and np.isfinite(distortion).all()):
        raise LensError("no lens fits the views")
    return CameraIntrinsics(
        size.width,
        size.height,
        float(matrix[0, 0]),
        float(matrix[1, 1]),
        float(matrix[0, 2]),
        float(matrix[1, 2]),
        "plumb_bob",
        tuple(float(value) for value in np.asarray(distortion).reshape(-1)[:5]),
    )
