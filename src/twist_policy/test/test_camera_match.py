"""A camera's intrinsics against the contract's."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from twist_policy.camera_match import (
    CameraIntrinsics,
    CameraMatchError,
    check_intrinsics,
    crop_points,
    intrinsic_shift,
)
from twist_policy.contract import PolicyContract


def found(contract: PolicyContract, **changes: object) -> CameraIntrinsics:
    return dataclasses.replace(CameraIntrinsics.from_model(contract.camera), **changes)  # type: ignore[arg-type]


def test_the_camera_trained_with_has_no_shift(contract: PolicyContract) -> None:
    shift = check_intrinsics(contract.camera, contract.image, found(contract), limit=0.0)
    assert (shift.total, shift.distortion) == (0.0, 0.0)


def test_ros_counts_pixels_from_the_middle_of_the_first_one(contract: PolicyContract) -> None:
    lens, model = found(contract), contract.camera
    assert (lens.cx, lens.cy) == (model.cx - 0.5, model.cy - 0.5)


def test_a_shifted_principal_point_and_another_focal_length_are_measured_in_pixels(
    contract: PolicyContract,
) -> None:
    same = found(contract)
    moved = found(contract, cx=same.cx + 3.0, cy=same.cy - 4.0)
    assert intrinsic_shift(contract.camera, contract.image, moved).total == pytest.approx(5.0)
    # Magnifying by 1 % moves a point by 1 % of its distance from the principal point.
    zoomed = found(contract, fx=contract.camera.fx * 1.01, fy=contract.camera.fy * 1.01)
    centre = np.array([contract.camera.cx, contract.camera.cy])
    expected = 0.01 * np.linalg.norm(crop_points(contract.image) - centre, axis=1).max()
    shift = intrinsic_shift(contract.camera, contract.image, zoomed)
    assert shift.total == pytest.approx(expected)
    assert shift.distortion == 0.0


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("plumb_bob", (0.1, -0.2, 0.001, -0.002, 0.05)),
        ("rational_polynomial", (0.1, -0.2, 0.001, -0.002, 0.05, 0.01, -0.02, 0.03)),
        ("equidistant", (0.1, -0.2, 0.05, 0.01)),
    ],
)
def test_distortion_is_what_opencv_makes_of_it(
    contract: PolicyContract, model: str, coefficients: tuple[float, ...]
) -> None:
    cv2 = pytest.importorskip("cv2")
    camera = found(contract, distortion_model=model, distortion=coefficients)
    rays = np.random.default_rng(0).uniform(-0.4, 0.4, (20, 2))
    points = np.concatenate([rays, np.ones((20, 1))], axis=1)
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    shape = (-1, 1, 3)
    expected = project(
        points.reshape(shape), np.zeros(3), np.zeros(3), matrix, np.array(coefficients)
    )[0].reshape(-1, 2)
    assert np.allclose(camera.project(rays), expected, atol=1e-6)


def test_a_shift_above_the_limit_is_refused_with_both_cameras(contract: PolicyContract) -> None:
    other = found(contract, fx=680.0, fy=680.0, distortion=(0.1, 0.0, 0.0, 0.0, 0.0))
    with pytest.raises(CameraMatchError, match=r"limit 15.*680\.0.*trained with 615\.0"):
        check_intrinsics(contract.camera, contract.image, other, limit=15.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 1280, "height": 720}, "1280x720 frames, the policy was trained with 640x480"),
        ({"fx": 0.0}, "not calibrated"),
        ({"cx": float("nan")}, "numbers that are none"),
        ({"distortion_model": "fov", "distortion": (0.9,)}, "'fov' with 1 coefficients"),
        ({"distortion": (0.1, 0.2)}, "'plumb_bob' with 2 coefficients"),
    ],
)
def test_a_calibration_that_cannot_be_compared_is_refused(
    contract: PolicyContract, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(CameraMatchError, match=message):
        check_intrinsics(contract.camera, contract.image, found(contract, **changes), limit=1e9)
