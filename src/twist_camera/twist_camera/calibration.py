"""Where the camera stands, and what its lens does, from pictures of a board.

Two ways to know where the board is:

- ``hand``: the board is fixed to the end effector somehow; each view has the arm's pose. Where on
  the end effector the board sits is found as well.
- ``table``: the board lies still; the arm's tool tip touches some of its corners.

First a guess in closed form, then all numbers together are fitted to all corners in all pictures:
the camera's pose, the board's, the lens where asked for, and a small error of every pose that the
robot reported, which is kept small by how well the robot is known. The uncertainty follows from the
curvature of that fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twist_camera.calibration_checks import (
    Calibration,
    CalibrationError,
    CalibrationRules,
    check_result,
    check_touches,
)
from twist_camera.calibration_fit import FitProblem, FitResult, View, fit
from twist_camera.charuco_board import CORNERS_NEEDED, Array, BoardSpec, Detection
from twist_camera.hand_eye import solve_hand_eye, turning
from twist_camera.lens import LensError, board_pose, estimate_lens
from twist_camera.rigid_transform import RigidTransform, fit_rigid
from twist_policy.camera_match import CameraIntrinsics

_GRID = (8, 6)


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture's corners and what the robot said about the board.

    Attributes:
        name: of the picture, for messages.
        detection: corners found.
        base_to_ee: pose of the end effector, for a board on it; else None.
        placement: which placement of the board on the table it shows; pictures of one placement
            share its touched points.
        touched: corner numbers and where the tool tip touched them, base frame, metres; for a board
            on the table.
    """

    name: str
    detection: Detection
    base_to_ee: RigidTransform | None = None
    placement: int = 0
    touched: tuple[tuple[int, tuple[float, float, float]], ...] = ()


def calibrate(
    spec: BoardSpec,
    samples: Sequence[Sample],
    intrinsics: CameraIntrinsics,
    rules: CalibrationRules | None = None,
    *,
    estimate_intrinsics: bool = False,
) -> Calibration:
    """Finds the camera's pose.

    Args:
        spec: the board.
        samples: views; all of a board on the end effector, or all of one on the table.
        intrinsics: the driver's; only the frame's size counts when they are estimated.
        rules: what is needed; None takes the usual.
        estimate_intrinsics: whether the lens is estimated too.

    Raises:
        CalibrationError: too few or too similar views, a board or a lens of another size than told,
            or a result that is too uncertain.
    """
    rules = rules or CalibrationRules()
    if len({s.name for s in samples}) != len(samples):
        raise CalibrationError("two views have the same name; each needs a picture of its own")
    usable = [s for s in samples if not spec.too_little(s.detection.numbers)]
    unused = tuple(s.name for s in samples if spec.too_little(s.detection.numbers))
    on_hand = all(s.base_to_ee is not None for s in usable)
    if not on_hand and any(s.base_to_ee is not None for s in usable):
        raise CalibrationError(
            "some views have a pose of the arm and some have none: do not mix boards on the "
            "gripper and on the table in one calibration"
        )
    needed = rules.views if on_hand else 1
    if len(usable) < needed:
        raise CalibrationError(
            f"{len(usable)} of {len(samples)} pictures show enough of the board "
            f"({CORNERS_NEEDED} corners in two rows and two columns), {needed} are needed; take "
            "more, with the whole board in the picture, sharp and well lit, and check that the "
            "printed board is the one told"
        )
    covered = coverage(usable, intrinsics)
    if estimate_intrinsics:
        intrinsics = _first_lens(spec, usable, intrinsics, covered, rules)
    seen = [_board_pose(spec, s, intrinsics) for s in usable]
    problem = (
        _on_hand(spec, usable, seen, intrinsics, rules)
        if on_hand
        else _on_table(spec, usable, seen, intrinsics, rules)
    )
    result = fit(problem, estimate_intrinsics=estimate_intrinsics)
    found = _report(result, usable, unused, covered)
    check_result(found, spec, rules)
    return found


def _board_pose(spec: BoardSpec, sample: Sample, intrinsics: CameraIntrinsics) -> RigidTransform:
    try:
        return board_pose(spec, sample.detection, intrinsics)
    except (LensError, np.linalg.LinAlgError) as error:
        raise CalibrationError(
            f"{sample.name}: {error}; look at the picture, and take the view out of session.yaml"
        ) from error


def coverage(samples: Sequence[Sample], intrinsics: CameraIntrinsics) -> float:
    """Share of the picture's fields, 8 x 6 of them, in which a corner was seen."""
    pixels = np.concatenate([s.detection.pixels for s in samples])
    cells = np.floor(pixels / (intrinsics.width, intrinsics.height) * _GRID).astype(int)
    cells = np.clip(cells, 0, np.array(_GRID) - 1)
    return len({tuple(cell) for cell in cells.tolist()}) / (_GRID[0] * _GRID[1])


def _first_lens(
    spec: BoardSpec,
    samples: Sequence[Sample],
    size: CameraIntrinsics,
    covered: float,
    rules: CalibrationRules,
) -> CameraIntrinsics:
    if covered < rules.lens_coverage:
        raise CalibrationError(
            f"the board was seen in {covered:.0%} of the picture, {rules.lens_coverage:.0%} are "
            "needed to estimate the lens: show it in the corners too, or take the driver's "
            "calibration (--intrinsics driver)"
        )
    try:
        lens = estimate_lens(spec, [s.detection for s in samples], size)
    except LensError as error:
        raise CalibrationError(
            f"{error}; take more views, or the driver's calibration (--intrinsics driver)"
        ) from error
    poses = [_board_pose(spec, s, lens) for s in samples]
    tilt = np.degrees(turning(poses)[1])
    if tilt < rules.lens_tilt:
        raise CalibrationError(
            f"the board was hardly tilted ({tilt:.1f} degrees, {rules.lens_tilt:g} are needed to "
            "estimate the lens): tilt it to all sides, or take the driver's calibration "
            "(--intrinsics driver)"
        )
    return lens


def _on_hand(
    spec: BoardSpec,
    samples: Sequence[Sample],
    seen: Sequence[RigidTransform],
    intrinsics: CameraIntrinsics,
    rules: CalibrationRules,
) -> FitProblem:
    arm = [s.base_to_ee for s in samples if s.base_to_ee is not None]
    first, second = np.degrees(turning(arm))
    if second < rules.turn:
        raise CalibrationError(
            f"the gripper was turned by {first:.1f} degrees about one axis but only by "
            f"{second:.1f} about a second one ({rules.turn:g} needed, root mean square): the "
            "camera's place does not follow from that. Tilt it to the left and right, and to the "
            "front and back, by 20 to 30 degrees"
        )
    camera, board = solve_hand_eye(arm, seen)
    views = tuple(
        View(s.detection, spec.corners[s.detection.numbers], pose)
        for s, pose in zip(samples, arm, strict=True)
    )
    return FitProblem(
        intrinsics,
        camera,
        views,
        board=board,
        pixel_sigma=rules.pixel,
        position_sigma=rules.robot_position,
        angle_sigma=float(np.radians(rules.robot_angle)),
    )


def _on_table(
    spec: BoardSpec,
    samples: Sequence[Sample],
    seen: Sequence[RigidTransform],
    intrinsics: CameraIntrinsics,
    rules: CalibrationRules,
) -> FitProblem:
    views, cameras = [], []
    for sample, in_camera in zip(samples, seen, strict=True):
        numbers = [number for number, _ in sample.touched]
        points = np.array([point for _, point in sample.touched], dtype=np.float64)
        if numbers and not 0 <= min(numbers) <= max(numbers) < len(spec.corners):
            raise CalibrationError(
                f"{sample.name}: the board has corners 0 to {len(spec.corners) - 1}, touched were "
                f"{numbers}"
            )
        try:
            on_board = spec.corners[numbers]
            placed = fit_rigid(on_board, points)
        except (ValueError, IndexError) as error:
            raise CalibrationError(
                f"{sample.name}: {error}; touch at least three corners of the board, as far apart "
                "as possible"
            ) from None
        check_touches(sample.name, spec, numbers, points, placed, rules)
        views.append(
            View(
                sample.detection,
                spec.corners[sample.detection.numbers],
                placed,
                group=sample.placement,
                touched=(on_board, points),
            )
        )
        cameras.append(placed @ in_camera.inverse())
    return FitProblem(
        intrinsics,
        cameras[0],
        tuple(views),
        board=None,
        pixel_sigma=rules.pixel,
        position_sigma=rules.robot_position,
        angle_sigma=float(np.radians(rules.robot_angle)),
    )


def _report(
    result: FitResult, samples: Sequence[Sample], unused: tuple[str, ...], covered: float
) -> Calibration:
    per_view = {
        sample.name: float(np.sqrt((errors**2).sum(axis=1).mean()))
        for sample, errors in zip(samples, result.errors, strict=True)
    }
    errors: Array = np.concatenate(result.errors)
    typical, usual = float(np.median(list(per_view.values()))), float(np.median(result.corrections))
    suspects = [
        name
        for (name, rms), correction in zip(per_view.items(), result.corrections, strict=True)
        if rms > max(3 * typical, 0.5) or correction > max(3 * usual, 3.0)
    ]
    return Calibration(
        result.intrinsics,
        result.camera,
        result.board,
        rms=float(np.sqrt((errors**2).sum(axis=1).mean())),
        view_rms=per_view,
        position_sigma=result.position_sigma,
        angle_sigma=float(np.degrees(result.angle_sigma)),
        coverage=covered,
        corners=len(errors),
        board_scale=result.board_scale,
        lens_scale=result.lens_scale,
        correction=usual,
        unused=unused,
        suspects=tuple(suspects),
    )
